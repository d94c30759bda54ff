"""Columns of stacked matrices with root mean square 1: the duality map of the largest column's root mean square.

Source     Bernstein and Newhouse 2024, arXiv:2409.20325, Proposition 1, for the norm from 1-norm to root mean square.
Symbols    X: [matrices, m, n]; rms_j: of column j.
Rule       rms_j = sqrt(sum over i of X_ij^2 / m);  X_ij / max(rms_j, 1 / most), 0 where rms_j = 0    (1)
Cost       One pass for the sums, one for the product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def unit_columns(x: Tensor, most: float = math.inf) -> Tensor:
    """Equation (1)."""
    rms = ((x * x).sum(-2, keepdim=True) / max(x.shape[-2], 1)).sqrt()
    return x * torch.where(rms > 0, 1 / rms.clamp_min(1 / most), torch.zeros_like(rms))
