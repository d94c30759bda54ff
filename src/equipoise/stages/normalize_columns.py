"""Normalize columns: give each column of the direction's matrices root mean square 1.

Source     Bernstein and Newhouse 2024, arXiv:2409.20325, Proposition 1, for the norm from 1-norm to root mean square.
Symbols    U: a matrix [m, n] of the direction as the group's `matrix_view` has it; rms_j: of column j.
Rule       rms_j = sqrt(sum over i of U_ij^2 / m)            (1)
           U_ij <- U_ij / max(rms_j, 1 / most), 0 where rms_j = 0    (2)
Order      After the momentum, before scaling.
Invariant  Every rms is 1 after it where it was at least 1 / most, else most times what it was; with most = inf scaling
           columns by any K_j > 0 changes nothing. On the transpose it is `normalize_rms` by rows.
Cost       No state; matrices are handed out, as for an orthogonalization, though nothing is multiplied.
Avoid      nn.Embedding, whose inputs are rows. Columns that are hardly ever used, with most = inf.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

from equipoise._card import method
from equipoise.core.checks import check_at_least
from equipoise.core.linalg.unit_columns import unit_columns
from equipoise.core.stage import Partial, Registers, Slot, Stage, Values, whole


@method(kind="stage", paper="arXiv:2409.20325", equations="Proposition 1", scope="matrix", see_also=("normalize_rms",))
def normalize_columns(*, most: float = math.inf) -> Stage:
    """Equations (1) and (2). `most`: largest factor, > 0."""
    check_at_least("most", most, 1e-30)

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"u": whole(r.u)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": unit_columns(x.u, most)}, {}  # (1), (2)

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.u}, {}

    return Stage(
        "normalize_columns", Slot.DIRECTION, update, reads=("u",), writes=("u",), partials=partials,
        reduction="matrix", solve=solve, effects=() if most < math.inf else ("forgets_scale",),
        degree=0 if most == math.inf else None, options=(("most", most),),
    )  # fmt: skip
