"""DoG: gradient descent whose step size is how far the weights have come, over the root of all squared gradients.

Source     Ivgi, Hinder, Carmon 2023, arXiv:2302.12022, equations (1) and (2); the authors' code for decay, eps and the
           first distance.
Differs    See `stages.gradient_distance`. The code's option for the first step size itself is left out.
Symbols    p, p_0, g: the parameter's shape; |.|: 2-norm over all tensors, or with scope "tensor" over each (LDoG);
           eta = lr, 1 by default, lambda = weight_decay.
Rule       g_t <- g_t + lambda p_{t-1}                                           (1)
           r_t, G_t: farthest distance and sum of squares, as equations (1) and (2) of `stages.gradient_distance`    (2)
           p_t = p_{t-1} - eta r_t / sqrt(G_t) g_t                               (3)
Order      Decay is part of the gradient, and of its squares.
Invariant  Without decay, multiplying every gradient by K changes nothing (eps -> 0); the first step is r_1 long.
Cost       1 tensor, read only, and 2 numbers of state; sums over all tensors, so it waits for all gradients.
Avoid      The last iterate: the authors average (`averaging.ema`). Momentum, which they leave out.
"""

from __future__ import annotations

from typing import Any, final

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.checks import check_at_least
from equipoise.core.groups import Given
from equipoise.core.optimizer import Optimizer
from equipoise.decay.shrink import shrink
from equipoise.stages.apply import apply
from equipoise.stages.gradient_distance import gradient_distance


@method(kind="optim", paper="arXiv:2302.12022", equations="(1), (2)", scope="global", state_per_param=1.0,
        see_also=("dadapt_adam", "prodigy", "sgd"), tags=("gradient", "lr-free"))  # fmt: skip
def dog(
    *,
    lr: float = 1.0,
    weight_decay: float = 0.0,
    first: float = 1e-6,
    eps: float = 1e-8,
    scope: str = "global",
) -> Chain:
    """Equations (1) to (3).

    Args:
        lr: multiplies the step size; 1, or a schedule of shares of 1.
        weight_decay: in the gradient.
        first: first distance, as a share of 1 + |p_0|; the authors take 1e-4 for networks with batch norms.
        eps: what the sum of squares starts from.
        scope: "global", or "tensor" for LDoG.

    Raises:
        ArgumentError: a value out of range.
    """
    check_at_least("lr", lr, 0.0)
    check_at_least("weight_decay", weight_decay, 0.0)
    parts = [shrink(place="grad"), gradient_distance(first=first, eps=eps, scope=scope), apply()]
    return chain(*parts, name="dog", hyper={"lr": lr, "weight_decay": weight_decay})


@final
class DoG(Optimizer):
    """DoG as a torch.optim.Optimizer. `options`: see `equipoise.Optimizer`."""

    def __init__(
        self,
        params: Given,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        *,
        first: float = 1e-6,
        eps: float = 1e-8,
        scope: str = "global",
        **options: Any,
    ) -> None:
        numbers = {"lr": lr, "weight_decay": weight_decay, "first": first, "eps": eps, "scope": scope}
        super().__init__(params, factory=dog, defaults=numbers, **options)
