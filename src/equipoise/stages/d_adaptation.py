"""D-adaptation: Adam's denominator, and an estimate of the distance to the solution as the step size, for all tensors.

Source     Defazio and Mishchenko 2023, arXiv:2301.07733, the version for Adam, read from the authors' code, version 3.
Differs    (2) divides by the denominators from before this gradient, and (4) has no factor 2, both as in version 3;
           versions 1 and 2 average with beta2 instead of b and have other factors. The paper's bound, d at most the
           distance, is one of plain sums in convex problems; averages may pass it. The code refuses learning rates
           that differ between groups; here each group uses its own. Every tensor keeps a copy of the two numbers.
Symbols    g, s, v, den: the parameter's shape; <.,.> and |.|_1 run over all tensors; d, d_0, r, eta: 0-D;
           b = sqrt(beta2); k_t = sqrt(1 - beta2^t) / (1 - beta1^t) with bias correction, else 1.
Rule       w = d eta k_t                                                                          (1)
           r_t = b r_{t-1} + (1 - b) w <g_t, s_{t-1} / (sqrt(v_{t-1}) + eps)>                     (2)
           s_t = b s_{t-1} + (1 - b) w g_t                                                        (3)
           hat = r_t / ((1 - b) |s_t|_1);  d' = max(d, min(hat, growth d))                        (4) the next step's d
           v_t = beta2 v_{t-1} + (1 - beta2) g_t^2;  den = sqrt(v_t) + eps                        (5)
           g <- w g;  eta <- 1;  decay's coefficient times d k_t                                  (6)
Order      Before the momentum, which then holds learning rates of the past, as in the code; then `divide`.
Invariant  d never falls, and d' <= growth d. Scaling every gradient by K > 0 changes nothing (eps -> 0).
Cost       2 tensors and 2 numbers of state; two sums over all tensors.
Avoid      Gradients of pure noise: the inner products cancel and d stays where it was. Tensors whose gradient is None
           in some steps: their copies of the numbers then lag behind. 16-bit state.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise._card import method
from equipoise.core.hyper import beta_power
from equipoise.core.stage import Coefs, Partial, Registers, Slot, Stage, StateSpec, Values, peak, total

_STATE = (
    StateSpec("s"),
    StateSpec("exp_avg_sq"),
    StateSpec("d", shape="scalar"),
    StateSpec("d_numerator", shape="scalar"),
)


@method(kind="stage", paper="arXiv:2301.07733", equations="Adam version", scope="global", state_per_param=2.0,
        see_also=("distance", "gradient_distance"))  # fmt: skip
def d_adaptation(*, bias_correction: bool = False) -> Stage:
    """Equations (1) to (6). Group keys: betas, eps, d0, growth.

    State: s, exp_avg_sq, and the numbers d and d_numerator (r). Telemetry: aux["distance"].
    """

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        d, weight = _weight(s.d, c)
        along = torch.where(s.s != 0, s.s / (s.exp_avg_sq.sqrt() + c.eps), torch.zeros_like(s.s))
        return {"moved": total(weight * r.g * along), "length": total(_sum(r, s, c).abs()), "d": peak(d)}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, world: SimpleNamespace) -> tuple[Values, Values]:
        top = c.keep * s.d_numerator + c.own * world.moved  # (2)
        hat = torch.where(world.length > 0, top / (c.own * world.length), world.d)
        new = torch.maximum(world.d, torch.minimum(hat, c.growth * world.d))  # (4)
        v = torch.lerp(s.exp_avg_sq, r.g * r.g, c.fresh)  # (5)
        scale = world.d * c.correct
        g = scale * c.lr * r.g
        registers = {"g": g, "u": g, "den": v.sqrt() + c.eps, "eta": torch.ones_like(world.d)}  # (6)
        lam = scale if r.lam is None else scale * r.lam
        state = {"s": _sum(r, s, c), "exp_avg_sq": v, "d": new, "d_numerator": top}
        return {**registers, "lam": lam, "aux": {"distance": new}}, state

    return Stage(
        "d_adaptation", Slot.PRECONDITION, update, reads=("g", "eta"),
        writes=("g", "u", "den", "eta", "lam", "aux.distance"), partials=partials, reduction="global", state=_STATE,
        hyper=("beta1", "beta2", "eps", "d0", "growth"), coefs=_coefs(bias_correction),
        options=(("bias_correction", bias_correction),),
    )  # fmt: skip


def _coefs(bias_correction: bool) -> Coefs:
    def coefs(h: SimpleNamespace) -> dict[str, float]:
        keep = h.beta2**0.5
        correct = (1 - beta_power(h, "beta2")) ** 0.5 / (1 - beta_power(h, "beta1")) if bias_correction else 1.0
        numbers = {"keep": keep, "own": 1 - keep, "fresh": 1 - h.beta2, "eps": h.eps, "correct": correct}
        return {**numbers, "d0": h.d0, "growth": h.growth, "lr": h.lr}

    return coefs


def _weight(old: Tensor, c: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """This step's d, which starts at d_0, and w of equation (1)."""
    d = torch.maximum(old, c.d0)
    return d, d * c.lr * c.correct


def _sum(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> Tensor:
    """Equation (3)."""
    return torch.lerp(s.s, _weight(s.d, c)[1] * r.g, c.own)
