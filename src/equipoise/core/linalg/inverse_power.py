"""Inverse powers of stacked symmetric matrices, by eigendecomposition.

Source     Gupta, Koren and Singer 2018, arXiv:1802.09568: the roots that Shampoo takes.
Symbols    A: [matrices, n, n], symmetric, nonnegative; eps, q, c: [matrices, 1, 1] or numbers, eps and q >= 0, c > 0;
           X: [matrices, n, m], n >= m.
Rule       A = V diag(w) V^T;  w' = w / c + eps                                                         (1)
           (A / c + eps I)^(-q) = V diag(w'^(-q)) V^T, where w' <= n eps_machine max(w') counts as 0    (2)
           A = c X X^T, V of X^T X: w_j = |X v_j|^2, s_j = X v_j / |X v_j|, as (1) and (2) with c = 1
           (A / c + eps I)^(-q) = sum_j (w'_j^(-q) - eps^(-q)) s_j s_j^T + eps^(-q) I                   (3)
Differs    An eigenvalue that is 0 gives 0, not infinity: directions that have never seen a gradient are not moved.
Cost       (2) one eigendecomposition of n by n, about 9 n^3 multiplications; memory for two matrices besides `room`.
           (3) one of m by m, and two products.
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
    return _of(values, vectors, exponent, eps, over)


def spanned_inverse_powers(
    x: Tensor,
    short: Tensor,
    exponent: Tensor | float,
    eps: Tensor | float = 0.0,
    *,
    over: Tensor | float = 1.0,
    out: tuple[Tensor, Tensor],
) -> None:
    """Equation (3), and (2) of the shorter side, where the covariances are one gradient's.

    Args:
        x: X, [matrices, n, m], n >= m.
        short: c X^T X, [matrices, m, m].
        exponent, eps, over: q, eps and c.
        out: where the powers are written: of c X X^T [matrices, n, n], and of `short`.
    """
    values, vectors = symmetric_eigen(short, room=out[1])
    numbers = [torch.as_tensor(number, dtype=x.dtype).broadcast_to(len(x), 1, 1) for number in (exponent, eps)]
    for i, own in enumerate(x):  # one at a time: what is held beside the result is small
        q, e = (float(number[i]) for number in numbers)
        _spanned(own @ vectors[i], q, e, out[0][i])
    out[1].copy_(_of(values, vectors, exponent, eps, over))


def _of(
    values: Tensor, vectors: Tensor, exponent: Tensor | float, eps: Tensor | float, over: Tensor | float
) -> Tensor:  # fmt: skip
    powers = _powers(values / _column(over) + _column(eps), _column(exponent), values.shape[-1])
    return (vectors * powers[..., None, :]) @ vectors.mT  # (2)


def _spanned(images: Tensor, exponent: float, eps: float, out: Tensor) -> None:
    """Equation (3) of one matrix: `images` X V, [n, m]."""
    n = len(images)
    values = images.square().sum(0)
    seen = values > n * torch.finfo(images.dtype).eps * values.max()
    both = torch.cat([torch.where(seen, values, 0.0) + eps, values.new_full((1,), eps)])
    powers = _powers(both, exponent, n)
    weights = torch.where(seen, (powers[:-1] - powers[-1]) / values, 0.0)
    torch.mm(images * weights, images.mT, out=out).diagonal().add_(powers[-1])


def _powers(values: Tensor, exponent: Tensor | float, n: int) -> Tensor:
    """w'^(-q) of all values, where those that are rounding noise give 0."""
    least = n * torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True)
    powers = values.clamp_min(torch.finfo(values.dtype).tiny) ** -exponent
    return torch.where(values > least, powers, torch.zeros_like(values))


def _column(number: Tensor | float) -> Tensor | float:
    return number[..., 0] if isinstance(number, Tensor) else number
