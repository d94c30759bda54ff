"""AdamS: Adam with stable weight decay, measured against the mean size of all second moments.

Source     Xie, Xu, Zhang, Sato, Sugiyama 2020, arXiv:2011.11152, Algorithm 3 (AdamS), and the authors' code.
Differs    While every gradient so far is 0 the authors divide by 0; here a coefficient is at most 1. Two other methods
           are called AdamS too: CAST's (equipoise.optim.cast) and one that normalises by the momentum itself.
Symbols    p, g, m, v, u: the parameter's shape; v-hat = v/(1 - beta2^t); eta = lr, lambda = weight_decay; the mean runs
           over the entries of all parameters of the optimizer that have a gradient.
Rule       m_t, v_t, u_t as Adam's equations (2) to (4), from g alone      (1)
           c_t = eta lambda / sqrt(mean v-hat_t), at most 1                (2)
           p_t = (1 - c_t) p_{t-1} - eta u_t                               (3)
Order      Both terms of (3) use the old p; (2) waits for the second moments of all parameters.
Invariant  A loss K times larger is decayed K times less, as with L2. lambda = 0 is Adam bit for bit.
Cost       2 tensors of state and, without amsgrad, one number per row, from which the mean of (2) is taken without
           reading v twice; one sum per row and one over all parameters.
Avoid      lambda of AdamW: (2) divides by a number far below 1. Start from what SGD would take, 1e-4 to 5e-4.
"""

from __future__ import annotations

from typing import Any, final

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.groups import Given
from equipoise.core.optimizer import Optimizer
from equipoise.decay.shrink import shrink
from equipoise.optim._checks import check_adam
from equipoise.optim._parts import adam_direction
from equipoise.stages.apply import apply


@method(kind="optim", paper="arXiv:2011.11152", equations="Algorithm 3", scope="global", state_per_param=2.0,
        see_also=("adamw", "sgds"), tags=("adaptive", "decay"))  # fmt: skip
def adams(
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 5e-4,
    amsgrad: bool = False,
) -> Chain:
    """Equations (1) to (3).

    Raises:
        ArgumentError: a value out of range.
    """
    check_adam(lr, beta1, beta2, eps, weight_decay)
    hyper = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}
    return chain(
        adam_direction(amsgrad=amsgrad), shrink(law="stable", by_row=not amsgrad), apply(), name="adams", hyper=hyper
    )


@final
class AdamS(Optimizer):
    """AdamS (stable weight decay) as a torch.optim.Optimizer. `options`: see `equipoise.Optimizer`."""

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 5e-4,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        values = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, factory=adams, defaults=values, **options)
