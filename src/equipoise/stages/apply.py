"""Apply: the step itself.

Source     Every method's last line of the step.
Symbols    p, u: the parameter's shape; eta: 0-D.
Rule       p <- p - eta u    (1)
Cost       No state, no extra pass.
"""

from __future__ import annotations

from types import SimpleNamespace

from equipoise._card import method
from equipoise.core.stage import Registers, Slot, Stage, Values


@method(kind="stage", equations="C2 slot S6")
def apply() -> Stage:
    """Equation (1)."""

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        return {"p": r.p - r.eta * r.u}, {}  # (1)

    return Stage("apply", Slot.APPLY, update, reads=("p", "u", "eta"), writes=("p",))
