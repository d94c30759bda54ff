"""Row moment: even out how much each row of a matrix's direction moves, and keep the length of the whole.

Source     Li et al. 2025, arXiv:2510.05491 (NorMuon), and the authors' code.
Symbols    X: a matrix [rows, columns] of the direction; v: [rows, 1], starts at 0; f: factor of the matrix's shape.
Rule       v_t = beta2 v_{t-1} + (1 - beta2) mean of X^2 over columns                     (1)
           Y = X / (sqrt(v_t) + 1e-10)                                                    (2)
           X <- f Y |X| / (|Y| + 1e-10), |.| of the whole matrix                          (3)
Order      After `orthogonalize`, and before any factor: f stands here so that no third pass is needed.
Invariant  f = 1: the Frobenius norm of each matrix is what it was; no debias, for a factor of all v cancels in (3).
Cost       One number of state per row; one pass.
Avoid      Matrices whose rows are not units of one kind: set `matrix_view` so that they are.
"""

from __future__ import annotations

from types import SimpleNamespace

from torch import Generator, Tensor

from equipoise._card import method
from equipoise.core.checks import check_choice
from equipoise.core.linalg.row_moment import by_row_moment, zero_moment
from equipoise.core.linalg.shape_factor import RULES, scale_matrices
from equipoise.core.stage import Partial, Registers, Slot, Stage, StateSpec, Values, whole


def _start(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    return zero_moment(shape)


@method(kind="stage", paper="arXiv:2510.05491", scope="matrix", see_also=("orthogonalize", "second_moment"))
def row_moment(*, scale: str = "none") -> Stage:
    """Equations (1) to (3). Group key: betas[1]. State: second_momentum_buffer. `scale`: rule of f."""
    check_choice("scale", scale, RULES)

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        return {"keep": h.beta2}

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"u": whole(r.u)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        u, moment = by_row_moment(x.u, s.second_momentum_buffer, c.keep)  # (1), (2)
        return {"u": scale_matrices(u, scale)}, {"second_momentum_buffer": moment}  # (3)

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.u}, {}

    return Stage(
        "row_moment", Slot.DIRECTION, update, reads=("u",), writes=("u",),
        state=(StateSpec("second_momentum_buffer", init=_start, shape="free"),), hyper=("beta2",), coefs=coefs,
        partials=partials, reduction="matrix", solve=solve, in_place=True, options=(("scale", scale),),
    )  # fmt: skip
