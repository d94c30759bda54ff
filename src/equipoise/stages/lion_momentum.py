"""Lion momentum: an interpolation for the direction and another for the memory.

Source     Chen et al. 2023, arXiv:2302.06675, Algorithm 2, lines 1 and 3.
Symbols    g, m, u: the parameter's shape; beta1, beta2 in [0, 1).
Rule       u_t = beta1 m_{t-1} + (1 - beta1) g_t              (1)
           m_t = beta2 m_{t-1} + (1 - beta2) g_t              (2)
Order      The memory is updated after it is used. No bias correction.
Invariant  beta1 = beta2 gives a plain moving average.
Cost       1 tensor of state.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, StateSpec, Values


@method(kind="stage", paper="arXiv:2302.06675", equations="Algorithm 2", state_per_param=1.0)
def lion_momentum() -> Stage:
    """Equations (1) and (2). Group key: betas. State: exp_avg."""

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        return {"fresh_u": 1 - h.beta1, "fresh_m": 1 - h.beta2}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        u = torch.lerp(s.exp_avg, r.u, c.fresh_u)  # (1)
        m = torch.lerp(s.exp_avg, r.u, c.fresh_m)  # (2)
        return {"m": m, "u": u}, {"exp_avg": m}

    return Stage(
        "lion_momentum", Slot.MOMENTUM, update, reads=("u",), writes=("m", "u"), state=(StateSpec("exp_avg"),),
        hyper=("beta1", "beta2"), coefs=coefs,
    )  # fmt: skip
