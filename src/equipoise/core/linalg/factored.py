"""A matrix of second moments kept as one number per row and one per column.

Source     Shazeer and Stern 2018, arXiv:1804.04235, section 3, Algorithm 1; the floor as in torch.optim.Adafactor.
Symbols    S: squares [matrices, rows, columns], not negative; R: [matrices, rows, 1]; C: [matrices, 1, columns]; w: how
           much of the new comes in; floor: a number.
Rule       R <- R + w (mean of S over columns - R);  C <- C + w (mean of S over rows - C)      (1)
           V = R C / max(mean of R over rows, floor), or its root: R and C have roots of their own    (2)
Invariant  Where S is an outer product and w = 1, V is S; rows and columns of V have the means of S.
"""

from __future__ import annotations

import torch
from torch import Tensor


def zero_rows(shape: tuple[int, ...]) -> Tensor:
    """R of stacked matrices [matrices, rows, columns] before the first step."""
    return torch.zeros(shape[0], shape[1], 1)


def zero_columns(shape: tuple[int, ...]) -> Tensor:
    """C of stacked matrices [matrices, rows, columns] before the first step."""
    return torch.zeros(shape[0], 1, shape[2])


def follow(squares: Tensor, rows: Tensor, columns: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    """Equation (1): R and C after these squares. `fresh`: [matrices, 1, 1]."""
    new_rows = torch.lerp(rows, squares.mean(-1, keepdim=True), fresh)
    return new_rows, torch.lerp(columns, squares.mean(-2, keepdim=True), fresh)


def root_of_product(rows: Tensor, columns: Tensor, floor: Tensor | float, out: Tensor) -> Tensor:
    """The root of V of (2), in `out`; 0 where all is 0. `floor`: a number or [matrices, 1, 1]."""
    mean = rows.mean(-2, keepdim=True)
    by = torch.maximum(mean, torch.as_tensor(floor, dtype=mean.dtype, device=mean.device))
    return torch.mul((rows / torch.where(by > 0, by, torch.ones_like(by))).sqrt(), columns.sqrt(), out=out)
