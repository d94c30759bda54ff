"""Factored moment: a second moment that takes one number per row and column instead of one per weight.

Source     Shazeer and Stern 2018, arXiv:1804.04235, Algorithms 4 and 5; floors as in torch.optim.Adafactor.
Differs    The paper adds eps1 to g^2; torch and this bound the estimate from below by eps1^2, and the mean of the rows
           by eps1. torch factors the last two axes of a convolution, one matrix per pair of channels; here a
           convolution is one matrix [out, in x kh x kw], see `matrix_view`.
Symbols    g, v, den: the parameter's shape, as matrices [rows, columns]; R: [rows, 1]; C: [1, columns]; t >= 1.
Rule       w = t^beta2_decay                                                          (1)
           R, C, v = R C / max(mean(R), eps1): equations (1) and (2) of `core.factored` with S = g^2  (2)
           den = sqrt(max(v, eps1^2)) = max(sqrt(v), eps1)                            (3)
Order      Before `divide`. For matrices: give vectors `power_moment` through `otherwise`.
Invariant  w = 1 at t = 1, so no bias correction; on gradients of rank one it is a full second moment.
Cost       One number per row and column.
Avoid      Gradients whose squares are far from rank one, where a row's small entries share the row's large number.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Generator, Tensor

from equipoise._card import method
from equipoise.core.linalg.factored import follow, root_of_product, zero_columns, zero_rows
from equipoise.core.stage import Partial, Registers, Slot, Stage, StateSpec, Values, whole


def _rows(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    return zero_rows(shape)


def _columns(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    return zero_columns(shape)


@method(kind="stage", paper="arXiv:1804.04235", equations="Algorithm 4", scope="matrix",
        see_also=("power_moment", "second_moment"))  # fmt: skip
def factored_moment() -> Stage:
    """Equations (1) to (3). Group keys: beta2_decay, eps1 (None: the resolution of the step's dtype).

    State: row_var [matrices, rows, 1] and col_var [matrices, 1, columns].
    """

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        return {"fresh": h.t**h.beta2_decay, **floor_coefs(h)}

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"squares": whole(r.g * r.g)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        rows, columns = follow(x.squares, s.row_var, s.col_var, c.fresh)  # (1)
        root_of_v = root_of_product(rows, columns, floor(c, x.squares), out=x.squares)  # (2)
        return {"root": root_of_v}, {"row_var": rows, "col_var": columns}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"den": _not_zero(torch.maximum(solved.root, floor(c, r.g)))}, {}  # (3)

    state = (StateSpec("row_var", _rows, "free"), StateSpec("col_var", _columns, "free"))
    return Stage(
        "factored_moment", Slot.PRECONDITION, update, reads=("g",), writes=("den",), partials=partials,
        reduction="matrix", solve=solve, in_place=True, state=state, hyper=("beta2_decay", "eps1"), coefs=coefs,
    )  # fmt: skip


def floor_coefs(h: SimpleNamespace) -> dict[str, float]:
    """eps1, and whether the dtype's own stands in for it."""
    return {"eps1": 0.0, "own": 1.0} if h.eps1 is None else {"eps1": h.eps1, "own": 0.0}


def floor(c: SimpleNamespace, like: Tensor) -> Tensor:
    """The eps1 in use."""
    return c.eps1 + c.own * torch.finfo(like.dtype).eps


def root(v: Tensor, eps1: Tensor) -> Tensor:
    """Equation (3); 1 where it would be 0."""
    return _not_zero(torch.maximum(v, eps1 * eps1)).sqrt()


def _not_zero(value: Tensor) -> Tensor:
    return torch.where(value > 0, value, torch.ones_like(value))
