"""Eigenbases of stacked covariance matrices: found once, then followed by one round of power iteration at a time.

Source     Vyas et al. 2024, arXiv:2409.11321, Algorithm 4, as in the authors' code.
Differs    The first gradient's covariance has rank min(rows, columns): what an eigensolver returns for the eigenvalue 0
           is arbitrary. Here those vectors are replaced by a completion of the others that is the same everywhere.
           That of the longer side is found without an eigendecomposition, from that of the shorter, by (2).
Symbols    A: [matrices, n, n], symmetric, nonnegative; Q: [matrices, n, n], a vector in every row, by falling
           eigenvalue, orthogonal; qr: the orthogonal factor; X: [matrices, n, m], n >= m.
Rule       A = V^T diag(w) V;  Q^T = qr(V^T), rows of w <= n eps max(w) set to 0                (1)
           A = X X^T, S the eigenbasis of X^T X:  w_j = |X s_j|^2,  Q^T = qr([X S^T, 0]), as (1)  (2)
           w_j = q_j A q_j^T;  order = by falling w;  Q^T <- qr(A Q^T), columns in this order   (3)
           the reflections I - tau_j y_j y_j^T of a QR of m columns: Y = [y_1 ... y_m],
           T^-1 = diag(1 / tau) + the part of Y^T Y above its diagonal,  Q^T = I - Y T Y^T      (4)
Invariant  Q^T Q = I; where A does not change, (3) converges to its eigenvectors.
Cost       (1) one eigendecomposition, and twice A's memory besides `room`; (2) a QR of n by m, and by (4) two
           products, in `room`; (3) one product and one QR, in place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise.core.linalg.symmetric_eigen import symmetric_eigen

_BLOCK = 1 << 18  # elements of a matrix that are multiplied, or put in order, at a time
_FEW = 128  # rows of it at least


def first_basis(a: Tensor, *, room: Tensor | None = None) -> Tensor:
    """Equation (1); `room`: see `symmetric_eigen`."""
    if a.shape[-1] == 0:
        return a
    values, vectors = symmetric_eigen(a, room=room)
    return _orthonormal(_known(vectors.mT.flip(-2), values.flip(-1)))


def spanned_basis(x: Tensor, short: Tensor, *, room: Tensor | None = None) -> Tensor:
    """Equation (2).

    Args:
        x: X, [matrices, n, m], n >= m.
        short: S, [matrices, m, m].
        room: [matrices, n, n], contiguous, where the result is to lie; is overwritten.
    """
    *matrices, n, m = x.shape
    basis = x.new_empty(*matrices, n, n) if room is None else room
    thin = torch.bmm(short, x.mT, out=basis[..., :m, :])
    _, scales = _reflectors(_known(thin, torch.linalg.vector_norm(thin, dim=-1).square()))
    return _completed(basis, scales)


def next_basis(a: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Equation (3), written over `basis`; and the order [matrices, n] in which the old vectors went into it."""
    values = torch.cat([_step(a, part) for part in basis.split(_some(basis, -2), -2)], -1)
    order = values.argsort(dim=-1, descending=True, stable=True)
    return _orthonormal(in_order(basis, order, -2)), order


def in_order(x: Tensor, order: Tensor, axis: int) -> Tensor:
    """x [matrices, rows, columns] with its rows (axis -2) or columns (-1) in the order [matrices, extent], in place."""
    across = -3 - axis
    for part in x.split(_some(x, across), across):
        part.copy_(part.gather(axis, order.unsqueeze(across).expand_as(part)))
    return x


def _some(x: Tensor, axis: int) -> int:
    """How much of an axis is worked on at a time."""
    return max(_BLOCK * x.shape[axis] // max(x.numel(), 1), _FEW)


def _step(a: Tensor, rows: Tensor) -> Tensor:
    """Multiply some rows by A in place; returns their w."""
    image = rows @ a
    values = (rows * image).sum(-1)
    rows.copy_(image)
    return values


def _known(rows: Tensor, values: Tensor) -> Tensor:
    """Rows whose value is rounding noise become 0, in place."""
    tiny = rows.shape[-1] * torch.finfo(rows.dtype).eps
    return rows.mul_((values > tiny * values.amax(-1, keepdim=True))[..., None])


def _orthonormal(rows: Tensor) -> Tensor:
    """qr of the rows, taken as columns, written over them."""
    return _product(*_reflectors(rows))


def _reflectors(rows: Tensor) -> tuple[Tensor, Tensor]:
    x, scales = rows.mT, rows.new_empty(rows.shape[:-1])  # columns one after the other, as LAPACK takes them
    torch.geqrf(x, out=(x, scales))
    return rows, scales


def _completed(basis: Tensor, scales: Tensor) -> Tensor:
    """Equation (4), written over the basis, whose first m rows hold the reflections."""
    m = scales.shape[-1]
    y = basis[..., :m, :]  # Y^T
    y[..., :m].triu_(1).diagonal(dim1=-2, dim2=-1).fill_(1.0)
    y.mul_((scales != 0)[..., None])  # where tau is 0 nothing is reflected
    inverse = torch.bmm(y, y.mT).triu_(1)
    inverse.diagonal(dim1=-2, dim2=-1).copy_(torch.where(scales != 0, 1 / scales, 1.0))
    few = _some(basis, -2)
    for start in range(m, basis.shape[-1], few):  # rows of Q are made of Y^T, so those that hold it come last
        rows = slice(start, start + few)
        own = torch.linalg.solve_triangular(inverse, y[..., rows], upper=True).mT
        out = basis[..., rows, :]
        torch.baddbmm(out, own, y, beta=0, alpha=-1, out=out)[..., rows].diagonal(dim1=-2, dim2=-1).add_(1.0)
    own = torch.linalg.solve_triangular(inverse, y[..., :m], upper=True).mT
    for part in y.split(few, -1):
        part.copy_(torch.bmm(own, part).neg_())
    y.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return basis


def _product(rows: Tensor, scales: Tensor) -> Tensor:
    torch.linalg.householder_product(rows.mT, scales, out=rows.mT)
    return rows
