"""GSM: SGD in which only the most important weights get a gradient, while decay wears the others down to nothing.

Source     Ding et al. 2019, arXiv:1909.12778, Algorithm 1; the authors' code (defaults, nesterov as an option).
Differs    The authors mask tensors with two or four axes, wherever they are; here those with two or more.
Symbols    p, g, b, u: the parameter's shape; T = |p g|; eta = lr, mu = momentum, lambda = weight_decay.
Rule       of all tensors with two or more axes, g_t <- 0 where T is not among the floor(keep N) largest    (1)
           g_t <- g_t + lambda p_{t-1}                                                                      (2)
           b_t = mu b_{t-1} + g_t;  u_t = b_t, or g_t + mu b_t with nesterov                                (3)
           p_t = p_{t-1} - eta u_t                                                                          (4)
           Tensors with fewer axes get (2) to (4).
           at the end: p <- 0 where |p| is not among the floor(keep N) largest; see `prune_smallest`        (5)
Order      The mask comes before the decay, so that all weights decay.
Invariant  keep = 1 is SGD. A weight that is never chosen shrinks by about eta lambda / (1 - mu) per step.
Cost       1 tensor of state; one selection over all entries, at which all tensors wait for each other.
Avoid      Short runs: at the defaults an unused weight falls to a tenth in 90,000 steps. Raise lr, momentum or decay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor, nn

from equipoise._card import method
from equipoise._errors import ArgumentError
from equipoise.core.chain import Chain, chain
from equipoise.core.checks import check_at_least
from equipoise.core.groups import Given
from equipoise.core.optimizer import Optimizer
from equipoise.core.schedule import Schedule
from equipoise.core.spread import is_spread, local
from equipoise.core.threshold import threshold
from equipoise.decay.shrink import shrink
from equipoise.optim._checks import check_momentum
from equipoise.stages.apply import apply
from equipoise.stages.heavy_ball import heavy_ball
from equipoise.stages.mask_top import mask_top


@method(kind="optim", paper="arXiv:1909.12778", equations="Algorithm 1", scope="global", state_per_param=1.0,
        see_also=("sgd", "cast"), tags=("gradient", "sparse", "memory-light"))  # fmt: skip
def gsm(
    *,
    lr: float = 5e-3,
    momentum: float = 0.98,
    weight_decay: float = 1e-4,
    keep: float = 0.1,
    nesterov: bool = False,
) -> Chain:
    """Equations (1) to (4). `keep` in (0, 1]: share of the entries that get their gradient.

    Raises:
        ArgumentError: a value out of range; nesterov without momentum.
    """
    check_momentum(momentum, 0.0, nesterov)
    check_at_least("lr", lr, 0.0)
    check_at_least("weight_decay", weight_decay, 0.0)
    _check_keep(keep)
    middle = [heavy_ball(nesterov=nesterov, dampened=False)] if momentum != 0 else []
    parts = [shrink(place="grad"), *middle, apply()]
    hyper = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "keep": keep}
    return chain(mask_top(), *parts, name="gsm", hyper=hyper, otherwise=chain(*parts, name="gsm", hyper=hyper))


@torch.no_grad()
def prune_smallest(model: nn.Module | Iterable[Tensor], *, keep: float) -> int:
    """Equation (5): set the smallest weights to 0, in place, over all tensors with two or more axes together.

    Args:
        model: a module, or the tensors themselves. Those that are spread over processes are fetched whole, one by one.
        keep: share of the entries to keep, in (0, 1]; of equal sizes all are kept.

    Returns:
        How many entries are left, zeros that were there before not counted.

    Raises:
        ArgumentError: a share outside (0, 1], or no tensor with two or more axes.
    """
    _check_keep(keep)
    given = model.parameters() if isinstance(model, nn.Module) else model
    weights = [p for p in given if p.ndim > 1 and p.numel() > 0]
    if not weights:
        raise ArgumentError("model", "no tensor with two or more axes", "weights to prune", "Pass the model itself.")
    sizes = [_whole(p.detach()).abs().float() for p in weights]
    least = threshold(lambda: sizes, keep, torch.float32)
    for p in weights:
        own = local(p.detach())
        own.masked_fill_(own.abs().float() < least.to(own.device), 0)
    return sum(int(((v >= least.to(v.device)) & (v > 0)).sum()) for v in sizes)


def _whole(p: Tensor) -> Tensor:
    return p.full_tensor() if is_spread(p) else p  # type: ignore[attr-defined]


def _check_keep(keep: object) -> None:
    if isinstance(keep, Schedule):
        return
    check_at_least("keep", keep, 0.0)
    if not 0.0 < float(keep) <= 1.0:  # type: ignore[arg-type]
        raise ArgumentError("keep", keep, "a share in (0, 1]", "It is the share of weights that stay, such as 0.1.")


@final
class GSM(Optimizer):
    """GSM as a torch.optim.Optimizer. `options`: see `equipoise.Optimizer`."""

    def __init__(
        self,
        params: Given,
        lr: float = 5e-3,
        momentum: float = 0.98,
        weight_decay: float = 1e-4,
        *,
        keep: float = 0.1,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        values = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "keep": keep, "nesterov": nesterov}
        super().__init__(params, factory=gsm, defaults=values, **options)
