"""Eigenbases of stacked covariance matrices: found once, then followed by one round of power iteration at a time.

Source     Vyas et al. 2024, arXiv:2409.11321, Algorithm 4, as in the authors' code.
Differs    The first gradient's covariance has rank min(rows, columns): what an eigensolver returns for the eigenvalue 0
           is arbitrary. Here those columns are replaced by a completion of the others that is the same everywhere.
Symbols    A: [matrices, n, n], symmetric, nonnegative; Q: [matrices, n, n], orthogonal, columns by falling eigenvalue.
Rule       A = V diag(w) V^T;  Q = the QR factor of V, columns of w <= n eps max(w) set to 0     (1)
           w_j = q_j^T A q_j;  order = by falling w;  Q <- the QR factor of (A Q) in this order  (2)
Invariant  Q^T Q = I; where A does not change, (2) converges to its eigenvectors.
Cost       (1) one eigendecomposition, and twice A's memory besides `room`; (2) one product and one QR, 1.4 times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise.core.linalg.symmetric_eigen import symmetric_eigen

_PARTS = 8  # of a matrix, to copy one after the other


def first_basis(a: Tensor, *, room: Tensor | None = None) -> Tensor:
    """Equation (1); `room`: see `symmetric_eigen`."""
    values, vectors = symmetric_eigen(a, room=room)
    values, vectors = values.flip(-1), vectors.flip(-1)
    if a.shape[-1] == 0:
        return vectors
    tiny = a.shape[-1] * torch.finfo(a.dtype).eps
    known = values > tiny * values[..., :1]
    return _orthonormal(vectors.mul_(known[..., None, :]))


def next_basis(a: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Equation (2): the basis that follows, and the order [matrices, n] in which the old columns went into it."""
    turned = basis.mT @ a  # the columns of A Q, one after the other, as LAPACK takes them
    some = max(a.shape[-1] // _PARTS, 1)
    pairs = zip(basis.mT.split(some, -2), turned.split(some, -2), strict=True)
    order = torch.cat([(q * image).sum(-1) for q, image in pairs], -1).argsort(dim=-1, descending=True, stable=True)
    for part in turned.split(some, -1):
        part.copy_(part.gather(-2, order[..., None].expand_as(part)))
    return _orthonormal(turned.mT), order


def _orthonormal(x: Tensor) -> Tensor:
    """The factor Q of X = Q R, written over X."""
    scales = x.new_empty(x.shape[:-1])
    torch.geqrf(x, out=(x, scales))
    return torch.linalg.householder_product(x, scales, out=x)
