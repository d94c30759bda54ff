"""Scale shape: multiply each matrix of the direction by a factor of its shape, so that one learning rate fits all.

Source     The rules and where they come from: `core/linalg/shape_factor.py`.
Symbols    U: a matrix [rows, columns] of the direction as the group's `matrix_view` has it.
Rule       U <- f(rows, columns) U     (1)
Order      After an orthogonal direction. `orthogonalize(scale=...)` does the same without a pass of its own.
Cost       No state, one pass.
Avoid      A rule before a stage of degree 0 (a trust ratio, an orthogonalization): it cancels.
"""

from __future__ import annotations

from types import SimpleNamespace

from equipoise._card import method
from equipoise.core.checks import check_choice
from equipoise.core.linalg.shape_factor import RULES, scale_matrices
from equipoise.core.stage import Partial, Registers, Slot, Stage, Values, whole


@method(kind="stage", paper="arXiv:2502.16982", scope="matrix", see_also=("orthogonalize",))
def scale_shape(*, rule: str = "match_rms_adamw") -> Stage:
    """Equation (1). `rule`: "original", "match_rms_adamw", "spectral", "update_norm", or "none"."""
    check_choice("rule", rule, RULES)

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"u": whole(r.u)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": scale_matrices(x.u, rule)}, {}  # (1)

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.u}, {}

    return Stage(
        "scale_shape", Slot.SCALE, update, reads=("u",), writes=("u",), partials=partials, reduction="matrix",
        solve=solve, in_place=True, degree=0 if rule == "update_norm" else 1, options=(("rule", rule),),
        effects=("scales", "forgets_scale") if rule == "update_norm" else () if rule == "none" else ("scales",),
    )  # fmt: skip
