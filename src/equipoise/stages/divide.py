"""Divide: the direction over the denominator.

Source     Kingma and Ba 2014, arXiv:1412.6980, Algorithm 1, last line.
Symbols    u, den: the parameter's shape.
Rule       u <- u / den    (1)
Order      After the stages that write u's momentum and den.
Invariant  With a second moment of the same gradient, u does not change when the loss is scaled (eps -> 0).
Cost       No state, no extra pass.
"""

from __future__ import annotations

from types import SimpleNamespace

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, Values


@method(kind="stage", paper="arXiv:1412.6980", equations="Algorithm 1")
def divide() -> Stage:
    """Equation (1)."""

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": r.u / r.den}, {}  # (1)

    return Stage("divide", Slot.PRECONDITION, update, reads=("u", "den"), writes=("u",), degree=0)
