"""Soft spectral clip of stacked matrices: every singular value s becomes s / sqrt(1 + s^2 / c^2), without an SVD.

Source     The clip as H_c(X) = (I + X X^T / c^2)^(-1/2) X: arXiv:2603.14315. Coupled Newton-Schulz iteration for the
           inverse square root: Higham 2008, "Functions of Matrices", section 6.3. Scaling of each step to the
           interval that is left: Chen and Chow 2014, "A stable scaling of Newton-Schulz for improving the sign function
           computation of a Hermitian matrix".
Symbols    X: [matrices, rows, columns]; A = I + X X^T / c^2 on the shorter side, its eigenvalues in [1, b]; l: below it
           lie no square roots of eigenvalues of Z Y.
Rule       b = 1 + min(largest absolute row sum of X X^T, Frobenius norm of X X^T) / c^2     (1)
           Y_0 = A / b, Z_0 = I, l_0 = 1 / sqrt(b)                                           (2)
           m^2 = 3 / (1 + l + l^2);  T = m (3 I - m^2 Z Y) / 2                               (3)
           Y <- Y T;  Z <- T Z;  l <- m l (3 - m^2 l^2) / 2                                  (4)
           H_c(X) = Z X / sqrt(b)                                                            (5)
Invariant  c = inf gives X itself; |H_c(X)|_sigma < c; H_c(X) / c tends to the polar factor as c falls to 0.
Cost       One Gram matrix, and 3 products of the shorter side per iteration but 1 in the first and 2 in the last.
Avoid      bfloat16: A has condition number 1 + s_max^2 / c^2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_clip(x: Tensor, inverse_square: Tensor, steps: int) -> Tensor:
    """Equations (1) to (5).

    Args:
        x: [matrices, rows, columns].
        inverse_square: 1 / c^2, [matrices, 1, 1]; 0 clips nothing.
        steps: iterations; 10 reach float32 for singular values up to about 100 c, each further one 2.6 times more.
    """
    if x.shape[-2] > x.shape[-1]:
        return soft_clip(x.mT, inverse_square, steps).mT
    gram = x @ x.mT
    bound = 1 + _largest_eigenvalue_bound(gram) * inverse_square  # (1)
    a = _plus_diagonal(gram.mul_(inverse_square / bound), 1 / bound)
    return _inverse_square_root(a, bound.rsqrt(), steps).mul_(bound.rsqrt()) @ x  # (5)


def _largest_eigenvalue_bound(gram: Tensor) -> Tensor:
    if gram.numel() == 0:
        return gram.new_zeros(gram.shape[0], 1, 1)
    row_sum = gram.abs().sum(-1, keepdim=True).amax(-2, keepdim=True)
    return torch.minimum(row_sum, torch.linalg.matrix_norm(gram, keepdim=True))


def _inverse_square_root(a: Tensor, low: Tensor, steps: int) -> Tensor:
    """a^(-1/2) for symmetric a with eigenvalues in [low^2, 1]; a is used up."""
    y, z, t, free = a, None, torch.empty_like(a), torch.empty_like(a)  # (2), None for I
    for left in reversed(range(steps)):
        square = 3 / (1 + low + low * low)
        half = square.sqrt() / 2
        t = t.copy_(y) if z is None else torch.bmm(z, y, out=t)
        t = _plus_diagonal(t.mul_(-half * square), 3 * half)  # (3)
        z, free = (t.clone(), free) if z is None else (torch.bmm(t, z, out=free), z)  # (4)
        low = half * low * (3 - square * low * low)
        if left:  # nobody reads the last one
            y, free = torch.bmm(y, t, out=free), y
    assert z is not None
    return z


def _plus_diagonal(a: Tensor, number: Tensor) -> Tensor:
    """a + number I, in place. `number`: [matrices, 1, 1]."""
    a.diagonal(dim1=-2, dim2=-1).add_(number[..., 0])
    return a
