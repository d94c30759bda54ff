"""Rectified moment: Adam's denominator once its variance is tame, and 1 before.

Source     Liu et al. 2019, arXiv:1908.03265, Algorithm 2; threshold and eps as torch.optim.RAdam.
Differs    The paper switches at rho_t > 4 and has no eps; torch, and this, switch at rho_t > 5.
Symbols    g, v, den: the parameter's shape; t >= 1; beta2 in [0, 1); b = 1 - beta2^t; rho, r: 0-D.
Rule       v_t = beta2 v_{t-1} + (1 - beta2) g_t^2                                     (1)
           rho_inf = 2/(1 - beta2) - 1;  rho_t = rho_inf - 2 t beta2^t / b             (2)
           r_t^2 = (rho_t - 4)(rho_t - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho_t) (3)
           den = (sqrt(v_t) + eps) / (sqrt(b) r_t) where rho_t > 5, else 1             (4)
Order      Before `divide`.
Invariant  r_t -> 1: late on this is `second_moment` with eps_place="hat".
Cost       1 tensor of state.
Avoid      A learning rate made for Adam with large gradients: the first steps are plain momentum SGD at that rate.
           beta2 <= 2/3: rho_inf <= 5 and the denominator never comes.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, StateSpec, Values


@method(kind="stage", paper="arXiv:1908.03265", equations="Algorithm 2", state_per_param=1.0,
        see_also=("second_moment",))  # fmt: skip
def rectified_moment() -> Stage:
    """Equations (1) to (4). Group keys: betas[1], eps. State: exp_avg_sq."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        scale = _scale(h.beta2, h.t)
        return {"fresh": 1 - h.beta2, "eps": h.eps, "scale": scale, "flat": 0.0 if scale else 1.0}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        v = torch.lerp(s.exp_avg_sq, r.g * r.g, c.fresh)  # (1)
        return {"den": (v.sqrt() + c.eps) * c.scale + c.flat}, {"exp_avg_sq": v}  # (4)

    return Stage(
        "rectified_moment", Slot.PRECONDITION, update, reads=("g",), writes=("den",), state=(StateSpec("exp_avg_sq"),),
        hyper=("beta2", "eps"), coefs=coefs, degree=None,
    )  # fmt: skip


def _scale(beta2: float, t: int) -> float:
    """What multiplies sqrt(v) + eps in the denominator; 0 where the denominator is 1."""
    b, limit = 1 - beta2**t, 2 / (1 - beta2) - 1
    rho = limit - 2 * t * beta2**t / b  # (2)
    if rho <= 5:
        return 0.0
    rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)  # (3)
    return 1 / (b * rectified) ** 0.5
