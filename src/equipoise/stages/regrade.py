"""Regrade: the size of the direction, with the sign of the gradient.

Source     Cao et al. 2024, arXiv:2412.17107 (Grams), Algorithm 1.
Symbols    u, g: the parameter's shape.
Rule       u <- sign(g) |u|    (1)
Invariant  <u, g> >= 0; where g = 0 nothing moves.
Cost       No state, no extra pass.
Avoid      High gradient noise: the direction is the sign of one mini-batch.
"""

from __future__ import annotations

from types import SimpleNamespace

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, Values


@method(kind="stage", paper="arXiv:2412.17107", equations="Algorithm 1")
def regrade() -> Stage:
    """Equation (1)."""

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": r.g.sign() * r.u.abs()}, {}  # (1)

    return Stage("regrade", Slot.DIRECTION, update, reads=("u", "g"), writes=("u",))
