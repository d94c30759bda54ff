"""Inverse powers of stacked symmetric matrices, by eigendecomposition.

Source     Gupta, Koren and Singer 2018, arXiv:1802.09568: the roots that Shampoo takes.
Symbols    A: [matrices, n, n], symmetric, nonnegative; eps, q, c: [matrices, 1, 1] or numbers, eps and q >= 0, c > 0.
Rule       A = V diag(w) V^T;  w' = w / c + eps                                                         (1)
           (A / c + eps I)^(-q) = V diag(w'^(-q)) V^T, where w' <= n eps_machine max(w') counts as 0    (2)
Differs    An eigenvalue that is 0 gives 0, not infinity: directions that have never seen a gradient are not moved.
Cost       One eigendecomposition of n by n, about 9 n^3 multiplications; memory for two matrices besides `room`.
Avoid      16-bit matrices: cast to float32 first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise.core.linalg.symmetric_eigen import symmetric_eigen


def inverse_power(
    a: Tensor,
    exponent: Tensor | float,
    eps: Tensor | float = 0.0,
    *,
    over: Tensor | float = 1.0,
    room: Tensor | None = None,
) -> Tensor:
    """Equations (1) and (2), with c = `over`; `room`: see `symmetric_eigen`."""
    if a.shape[-1] == 0:
        return a
    values, vectors = symmetric_eigen(a, room=room)
    values = values / _column(over) + _column(eps)  # (1)
    least = a.shape[-1] * torch.finfo(a.dtype).eps * values[..., -1:].abs()
    powers = values.clamp_min(torch.finfo(a.dtype).tiny) ** -_column(exponent)
    powers = torch.where(values > least, powers, torch.zeros_like(values))
    return (vectors * powers[..., None, :]) @ vectors.mT  # (2)


def _column(number: Tensor | float) -> Tensor | float:
    return number[..., 0] if isinstance(number, Tensor) else number
