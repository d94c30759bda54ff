"""Square average: RMSprop's denominator, the root of a moving average of squared gradients, or of their variance.

Source     Tieleman and Hinton 2012, Lecture 6.5 of "Neural networks for machine learning"; Graves 2013,
           arXiv:1308.0850, equations (38) to (40) (centered); form as torch.optim.RMSprop.
Differs    Graves adds eps under the root. torch takes the root of (2) as it comes, which rounding can make negative;
           here it is 0 at least.
Symbols    g, v, a, den: the parameter's shape; alpha in [0, 1).
Rule       v_t = alpha v_{t-1} + (1 - alpha) g_t^2                                (1)
           a_t = alpha a_{t-1} + (1 - alpha) g_t;  v_t - a_t^2 in place of v_t    (2) centered only
           den = sqrt(v_t) + eps                                                  (3)
Order      Before `divide`. No bias correction.
Invariant  Gradients scaled by K > 0 scale den by K (eps -> 0).
Cost       1 tensor of state (2 when centered).
Avoid      The first steps at full learning rate: v starts at 0, so they are 1 / sqrt(1 - alpha) times too long.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, StateSpec, Values


@method(kind="stage", paper="arXiv:1308.0850", equations="(38)-(40)", state_per_param=1.0, see_also=("second_moment",))
def square_average(*, centered: bool = False) -> Stage:
    """Equations (1) to (3). Group keys: alpha, eps. State: square_avg (and grad_avg)."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        return {"fresh": 1 - h.alpha, "eps": h.eps}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        v = torch.lerp(s.square_avg, r.g * r.g, c.fresh)  # (1)
        state = {"square_avg": v}
        if centered:
            a = state["grad_avg"] = torch.lerp(s.grad_avg, r.g, c.fresh)
            v = (v - a * a).clamp_min(0.0)  # (2)
        return {"den": v.sqrt() + c.eps}, state  # (3)

    names = ("square_avg", "grad_avg") if centered else ("square_avg",)
    return Stage(
        "square_average", Slot.PRECONDITION, update, reads=("g",), writes=("den",), state=tuple(map(StateSpec, names)),
        hyper=("alpha", "eps"), coefs=coefs, options=(("centered", centered),),
    )  # fmt: skip
