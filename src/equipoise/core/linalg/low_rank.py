"""One step of power iteration: the factors of a stack of matrices that are nearest to a subspace followed over time.

Source     Ahn et al. 2025, arXiv:2504.05295 (Dion), lines 4 to 6 of its update; eps as the authors' code.
Differs    A column of the factor without length (a zero gradient, an expert that nothing reached) keeps its old
           direction: set to 0, as the plain rule does, it would never come back.
Symbols    B: [matrices, m, n]; Q: [matrices, n, k], the factor of the step before; k <= min(m, n).
Rule       P = the QR factor of B Q,  [matrices, m, k]        (1)
           R = B^T P,                 [matrices, n, k]        (2)
           q_j = r_j / (|r_j| + eps)                          (3)
Invariant  P^T P = I; P R^T = P P^T B; for k = min(m, n) and B of full rank, P R^T = B where m <= n.
Cost       Two products with B, one QR of [m, k].
"""

from __future__ import annotations

import torch
from torch import Tensor


def power_step(b: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Equations (1) and (2): P and R."""
    p = torch.linalg.qr(b @ q).Q  # (1)
    return p, b.mT @ p  # (2)


def next_factor(r: Tensor, q: Tensor, eps: Tensor | float) -> Tensor:
    """Equation (3): the factor that the next step starts from. Normalises R in place; columns of 0 stay 0 there."""
    length = torch.linalg.vector_norm(r, dim=-2, keepdim=True)
    r.div_(torch.where(length > 0, length + eps, torch.ones_like(length)))  # (3)
    return torch.where(length > 0, r, q)
