"""Kronecker root: Shampoo's preconditioner, a root of the gradients' covariance on each side of the gradient.

Source     Gupta, Koren and Singer 2018, arXiv:1802.09568, Algorithm 1; averages in place of sums as in
           facebookresearch/optimizers.
Differs    The paper has the exponent 1 / (2 k) for tensors of k axes, 1/4 for matrices; a common PyTorch port raises to
           -1 / k instead. Here every tensor is a matrix and the exponent, by default 1 / (2 preconditioned sides), an
           option. The paper starts the sums at damping I, here damping is added before the root, which for sums is the
           same. Directions that no gradient has touched count as 0, where the paper without damping divides by 0. Long
           sides are cut as in facebookresearch/optimizers, which has the same default; the paper cuts nothing.
Symbols    G, U: a matrix [m, n], or a block of one; L: [m, m], R: [n, n]; q = exponent; e = damping;
           f = refresh_every; t >= 1.
Rule       L_t = L_{t-1} + G G^T;  R_t = R_{t-1} + G^T G                                  (1) accumulate="sum"
           L_t = beta2 L_{t-1} + (1 - beta2) G G^T, R likewise                                  (1b)
           accumulate="average"
           at t = 1, f + 1, 2 f + 1, ...: P = (L + e I)^(-q),  Q = (R + e I)^(-q)            (2)
             with L / (1 - beta2^t) and R / (1 - beta2^t) in their places for averages       (2b)
             at t = 1 that of the longer side follows from the shorter's eigenvectors        (2c)
           U = P G Q                                                                         (3)
           each for every block; a side longer than block_size is cut into the fewest equal ones (4)
Order      Reads g. Momentum may stand before or after; Meta's stands after, on U.
Invariant  t = 1, e = 0, q = 1/4: U is the polar factor of G. With q = 1/4 and sums U does not see the scale of G.
Cost       4 matrices of state, 2 of each side; 4 products per step; an eigendecomposition of each side every f steps,
           which takes twice the memory of one block's side.
Avoid      Sides above max_dim: they are left alone. block_size None with long sides: time and state grow like cubes
           and squares of them.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from equipoise._card import method
from equipoise.core.checks import check_choice
from equipoise.core.hyper import beta_power
from equipoise.core.linalg.inverse_power import inverse_power, spanned_inverse_powers
from equipoise.core.linalg.refresh import all_due, due, first_and_due, where_due
from equipoise.core.linalg.symmetric_eigen import check_sum
from equipoise.core.stage import Coefs, Partial, Registers, Slot, Stage, StateSpec, Values, whole
from equipoise.stages._sides import has_side, times
from equipoise.stages._tiles import left_tiles, right_tiles, tiles

ACCUMULATE = ("sum", "average")


@method(kind="stage", paper="arXiv:1802.09568", equations="Algorithm 1", scope="matrix", see_also=("rotated_adam",))
def kronecker_root(*, accumulate: str = "sum", exponent: float | None = None) -> Stage:
    """Equations (1) to (4). Group keys: damping, refresh_every, max_dim, block_size (None: no blocks), and betas[1] for
    averages.

    State: left, right, left_root, right_root: [matrices, blocks, n, n].
    """
    check_choice("accumulate", accumulate, ACCUMULATE)
    average = accumulate == "average"

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"g": whole(r.g)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        blocks = [*tiles(x.g, (s.left, s.left_root), (s.right, s.right_root))]
        turn, q = due(c.turn), _exponent(exponent, s)
        for g, (left, _, right, _) in blocks if turn else ():
            check_sum(left, g)
            check_sum(right, g.mT)
        for g, (left, left_root, right, right_root) in blocks:
            _add(left, g, c)  # (1), (1b)
            _add(right, g.mT, c)
            if turn:
                _renew(g, (left, left_root), (right, right_root), q, c)
            g.copy_(times(left_root, times(right_root, g.mT).mT))  # (3)
        return {"g": x.g}, {spec.name: getattr(s, spec.name) for spec in _STATE}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"u": solved.g}, {}

    return Stage(
        "kronecker_root", Slot.PRECONDITION, update, reads=("g",), writes=("u",), partials=partials,
        reduction="matrix", solve=solve, state=_STATE, coefs=_coefs(average),
        degree=0 if exponent in (None, 0.25) else None,
        hyper=("damping", "refresh_every", "max_dim", "block_size", *(("beta2",) if average else ())),
        options=(("accumulate", accumulate), ("exponent", exponent)),
    )  # fmt: skip


def _coefs(average: bool) -> Coefs:
    def coefs(h: SimpleNamespace) -> dict[str, float]:
        keep, fresh, weight = (h.beta2, 1 - h.beta2, 1 - beta_power(h, "beta2")) if average else (1.0, 1.0, 1.0)
        first, turn = first_and_due(h.t, h.refresh_every)
        own = {"keep": keep, "fresh": fresh, "weight": weight, "damping": h.damping}
        return {**own, "first": first, "turn": max(first, turn)}

    return coefs


def _add(old: Tensor, x: Tensor, c: SimpleNamespace) -> None:
    """Equations (1) and (1b) for the rows of x, in place."""
    if has_side(old, x):
        torch.baddbmm(old.mul_(c.keep), x * c.fresh, x.mT, out=old)


def _renew(
    g: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], q: float, c: SimpleNamespace
) -> None:
    """Equations (2), (2b) and (2c), where they are due, for two sides with their roots, in place."""
    if all_due(c.first) and has_side(rows[0], g) and has_side(columns[0], g.mT):
        x, (_, long), (short, own) = (g, rows, columns) if g.shape[-2] >= g.shape[-1] else (g.mT, columns, rows)
        spanned_inverse_powers(x, short, q, c.damping, over=c.weight, out=(long, own))  # (2c)
        return
    for a, root in (rows, columns):
        room = root if all_due(c.turn) else None
        root.copy_(where_due(c.turn, inverse_power(a, q, c.damping, over=c.weight, room=room), root))


def _exponent(exponent: float | None, s: SimpleNamespace) -> float:
    sides = sum(square.shape[-1] > 0 for square in (s.left, s.right))
    return 1 / (2 * max(sides, 1)) if exponent is None else exponent


_STATE = (
    *(StateSpec(name, init, "free") for name, init in (("left", left_tiles), ("right", right_tiles))),
    *(StateSpec(name, init, "free") for name, init in (("left_root", left_tiles), ("right_root", right_tiles))),
)
