"""Eigendecomposition of stacked symmetric matrices, and whether sums of gradients' products can have one.

Rule       A = V diag(w) V^T, w rising, in A's dtype; where the solver does not converge, once more in float64    (1)
           |A + X X^T| <= max_i (A_ii + |x_i|^2) for A nonnegative and x_i the rows of X                          (2)
Cost       The solver takes twice A's memory, and the eigenvectors theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise._errors import ArgumentError


def symmetric_eigen(a: Tensor, *, room: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Equation (1): eigenvalues [matrices, n] and eigenvectors in columns [matrices, n, n].

    Args:
        a: the matrices.
        room: memory for the eigenvectors, like a, contiguous; is overwritten.

    Raises:
        ArgumentError: a matrix is not finite, because a gradient was not.
    """
    try:
        values, vectors = torch.linalg.eigh(a) if room is None else _eigh_into(a, room)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        _raise_unless(a.isfinite().all(-1), error)
        values, vectors = torch.linalg.eigh(a.double())
    return values.to(a.dtype), vectors.to(a.dtype)


def check_sum(a: Tensor, x: Tensor) -> None:
    """Raise what `symmetric_eigen` would raise for A + X X^T, by (2), before anything is overwritten."""
    if a.shape[-1] == x.shape[-2]:
        _raise_unless((a.diagonal(dim1=-2, dim2=-1) + torch.linalg.vector_norm(x, dim=-1).square()).isfinite(), None)


def _eigh_into(a: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = a.new_empty(a.shape[:-1]), room.mT  # as LAPACK writes them: column by column
    if len(a) == 1:  # may be a block of more: torch takes memory of its own unless it knows the stride between matrices
        torch.linalg.eigh(a[0], out=(values[0], vectors[0]))
    else:
        torch.linalg.eigh(a, out=(values, vectors))
    return values, vectors


def _raise_unless(finite: Tensor, error: Exception | None) -> None:
    bad = [i for i, own in enumerate(finite) if not own.all()]
    if bad:
        cure = "Pass skip_nonfinite=True to the optimizer, or look for the step before the loss became infinite."
        raise ArgumentError("covariance of gradients", f"not finite in matrices {bad}", "finite", cure) from error
