"""D-Adapted Adam: AdamW that finds its learning rate, from how well gradients agree with those before them.

Source     Defazio and Mishchenko 2023, arXiv:2301.07733, the version for Adam; numbers as the authors' code, version 3.
Differs    See `stages.d_adaptation` for which denominators the estimate uses. Decay is apart from the gradient; the
           code's default has it in the gradient, this is its `decouple`. Learning rates may differ between groups.
           Steps whose gradients are all 0 still move along the momentum and decay.
Symbols    p, g, m, v: the parameter's shape; d, k_t: 0-D, the same for all tensors; eta = lr, 1 by default,
           lambda = weight_decay.
Rule       d, k_t, v_t as equations (1) to (5) of `stages.d_adaptation`                          (1)
           m_t = beta1 m_{t-1} + (1 - beta1) d eta k_t g_t                                       (2)
           p_t = (1 - d eta k_t lambda) p_{t-1} - m_t / (sqrt(v_t) + eps)                        (3)
Order      The step uses the d of the step before; eta is inside the momentum, so a schedule acts on it with a delay.
Invariant  d never falls; multiplying every gradient by K changes nothing (eps -> 0).
Cost       3 tensors and 2 numbers of state; two sums over all tensors, so it waits for all gradients.
Avoid      A learning rate other than 1 before you have tried 1. `prodigy` by the same authors finds larger steps.
"""

from __future__ import annotations

import math
from typing import Any, final

from equipoise._card import method
from equipoise.core.chain import Chain, chain
from equipoise.core.checks import check_at_least
from equipoise.core.groups import Given
from equipoise.core.optimizer import Optimizer
from equipoise.decay.shrink import shrink
from equipoise.optim._checks import check_adam
from equipoise.stages.apply import apply
from equipoise.stages.d_adaptation import d_adaptation
from equipoise.stages.divide import divide
from equipoise.stages.ema import ema


@method(kind="optim", paper="arXiv:2301.07733", equations="Adam version", scope="global", state_per_param=3.0,
        see_also=("prodigy", "dog", "adamw"), tags=("adaptive", "lr-free"))  # fmt: skip
def dadapt_adam(
    *,
    lr: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    d0: float = 1e-6,
    growth: float = math.inf,
    bias_correction: bool = False,
) -> Chain:
    """Equations (1) to (3). `d0`: the first d; `growth`: the most by which a step multiplies d, at least 1.

    Raises:
        ArgumentError: a value out of range.
    """
    check_adam(lr, beta1, beta2, eps, weight_decay)
    check_at_least("d0", d0, 1e-30)
    check_at_least("growth", growth, 1.0)
    numbers = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay, "d0": d0, "growth": growth}
    parts = [d_adaptation(bias_correction=bias_correction), ema(debias=False), divide(), shrink(), apply()]
    return chain(*parts, name="dadapt_adam", hyper=numbers)


@final
class DAdaptAdam(Optimizer):
    """D-Adapted Adam as a torch.optim.Optimizer. `options`: see `equipoise.Optimizer`."""

    def __init__(
        self,
        params: Given,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        d0: float = 1e-6,
        growth: float = math.inf,
        bias_correction: bool = False,
        **options: Any,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "d0": d0, "growth": growth}
        defaults = {**numbers, "bias_correction": bias_correction}
        super().__init__(params, factory=dadapt_adam, defaults=defaults, **options)
