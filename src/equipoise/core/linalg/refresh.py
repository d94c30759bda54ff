"""Work that a matrix stage does on some steps only: whether any matrix of a stack is due, and for which ones it counts.

Whether a step is due follows from step counts alone, so it is a coefficient: 0 or 1 for each matrix. A solve runs
eagerly, so it may look at the number and skip an eigendecomposition; where only some matrices of a stack are due, the
others keep what they have.
"""

from __future__ import annotations

import torch
from torch import Tensor


def due(flag: Tensor) -> bool:
    """Whether any entry of `flag` [matrices, 1, 1] is above 0."""
    return bool((flag > 0).any())


def all_due(flag: Tensor) -> bool:
    """Whether all of them are."""
    return bool((flag > 0).all())


def where_due(flag: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` [matrices, ...] where the flag is above 0, else `old`; no copy where it is above 0 everywhere."""
    if new is old or all_due(flag):
        return new
    return torch.where(flag.view(-1, *(1,) * (new.ndim - 1)) > 0, new, old)


def first_and_due(t: float, every: float) -> tuple[float, float]:
    """For step t from 1: whether it is the first, and whether it is one of every + 1, 2 every + 1, ... (1.0 or 0.0)."""
    return float(t == 1), float(t > 1 and (t - 1) % max(round(every), 1) == 0)
