"""A running second moment per row of stacked matrices, with the norm of the whole restored.

Source     Li et al. 2025, arXiv:2510.05491 (NorMuon), and the authors' code.
Symbols    X: [matrices, rows, columns]; v: [matrices, rows, 1]; |.|: Frobenius norm of each matrix; e = 1e-10.
Rule       v <- beta2 v + (1 - beta2) mean of X^2 over columns         (1)
           Y = X / (sqrt(v) + e)                                       (2)
           X <- Y |X| / (|Y| + e)                                      (3)
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-10


def by_row_moment(x: Tensor, moment: Tensor, beta2: Tensor | float) -> tuple[Tensor, Tensor]:
    """Equations (1) to (3): x itself, scaled in place, and the new v."""
    row = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square()
    before = row.sum(-2, keepdim=True).sqrt()
    moment = moment * beta2 + row / max(x.shape[-1], 1) * (1 - beta2)  # (1)
    inverse = 1 / (moment.sqrt() + EPS)
    after = (row * inverse * inverse).sum(-2, keepdim=True).sqrt()
    return x.mul_(inverse * (before / (after + EPS))), moment  # (2), (3)


def zero_moment(shape: tuple[int, ...]) -> Tensor:
    """v before the first step, for matrices [matrices, rows, columns]."""
    return torch.zeros(*shape[:-1], 1)
