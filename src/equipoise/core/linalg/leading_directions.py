"""Leading singular directions of stacked matrices, renewed at times: a basis of the rows that holds most of a matrix.

Source     Zhao et al. 2024, arXiv:2403.03507, Algorithm 2: the projection and when it changes.
Differs    A new direction points as the one that it replaces does; a singular vector has no sign of its own.
Symbols    X: [matrices, m, n], m >= n, X = U S V^T; Q: [matrices, n, k], orthonormal columns, or 0 before the first.
Rule       Q <- the first k columns of V, q_j . old q_j >= 0, where it is due, or Q = 0, and X is not 0    (1)
Invariant  Q^T Q = I once X was not 0. X Q is the best approximation of rank k of X, in the basis Q, at a renewal.
Cost       One SVD of the stack when any matrix is renewed, else a look at Q and X.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise._errors import ArgumentError
from equipoise.core.linalg.refresh import due


def renewed_directions(x: Tensor, old: Tensor, turn: Tensor) -> Tensor:
    """Equation (1). `turn` [matrices, 1, 1]: above 0 where a renewal is due.

    Raises:
        ArgumentError: a matrix that is not finite, because a gradient was not.
    """
    if old.numel() == 0:
        return old
    flag = ((turn > 0) | ~_any(old)) & _any(x)
    if not due(flag):
        return old
    new = _leading(x, old.shape[-1])
    against = (new * old).sum(-2, keepdim=True) < 0
    return torch.where(flag, torch.where(against, -new, new), old)


def _any(x: Tensor) -> Tensor:
    """Whether anything of a matrix is not 0: [matrices, 1, 1]."""
    return x.abs().amax((-2, -1), keepdim=True) > 0


def _leading(x: Tensor, k: int) -> Tensor:
    """The k leading right singular vectors, in columns."""
    try:
        return torch.linalg.svd(x, full_matrices=False).Vh[..., :k, :].mT
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        bad = [i for i, matrix in enumerate(x) if not matrix.isfinite().all()]
        if not bad:
            raise
        cure = "Pass skip_nonfinite=True to the optimizer, or look for the step before the loss became infinite."
        raise ArgumentError("gradient to project", f"not finite in matrices {bad}", "finite", cure) from error
