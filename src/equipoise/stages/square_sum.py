"""Square sum: Adagrad's denominator, the root of the sum of all squared gradients.

Source     Duchi et al. 2011, "Adaptive subgradient methods for online learning and stochastic optimization", figure 1
           (diagonal); form as torch.optim.Adagrad.
Symbols    g, s, den: the parameter's shape; t >= 1; s_0 = initial_accumulator_value; zeta = lr_decay.
Rule       s_t = s_{t-1} + g_t^2                              (1)
           den = (sqrt(s_t) + eps) (1 + (t - 1) zeta)         (2) the second factor is torch's lr_decay
Order      Before `divide`.
Invariant  den never falls; scaling all gradients by K > 0 scales it by K (eps = s_0 = 0).
Cost       1 tensor of state.
Avoid      Long runs on dense gradients: the steps fall like 1/sqrt(t) whatever the schedule says.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, StateSpec, Values


@method(kind="stage", paper="Duchi et al. 2011", equations="figure 1", state_per_param=1.0,
        see_also=("square_average",))  # fmt: skip
def square_sum() -> Stage:
    """Equations (1) and (2). Group keys: eps, lr_decay, initial_accumulator_value. State: sum."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        floor = h.initial_accumulator_value if h.t == 1 else 0.0
        return {"floor": floor, "eps": h.eps, "slow": 1 + (h.t - 1) * h.lr_decay}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        # A floor, not a sum: a checkpoint of torch's that was never stepped holds s_0 already.
        squares = torch.maximum(s.sum, c.floor) + r.g * r.g  # (1)
        return {"den": (squares.sqrt() + c.eps) * c.slow}, {"sum": squares}  # (2)

    return Stage(
        "square_sum", Slot.PRECONDITION, update, reads=("g",), writes=("den",), state=(StateSpec("sum"),),
        hyper=("eps", "lr_decay", "initial_accumulator_value"), coefs=coefs,
    )  # fmt: skip
