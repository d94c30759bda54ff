"""Caps on the singular values of stacked weight matrices.

Source     Newhouse et al. 2025, arXiv:2507.13338, and the authors' code.
Differs    Their code takes strength 1 where no root of (2) exists, which shrinks everything; there the strength is 0. A
           step longer than about 1.3 w would put the maximum of (1) inside the interval: (3) bounds that too. Their
           power iteration starts anew from one fixed vector; here its vector is kept.
Symbols    W: [matrices, rows, columns], s: its singular values, w: the cap, alpha: the soft cap's strength,
           k: an upper bound on s; u, v: singular vectors of the largest one, s1; e = smallest a > 0 with
           1 - 15 a^2 + 21 a^3 - 9 a^4 = 0, where (1) has its maximum.
Rule       soft:       s <- y + alpha y^3 with y = s - alpha s^3                                            (1)
           alpha = a / k^2 with 1 - 3 a^2 + 3 a^3 - a^4 = w / k, a in (0, 1), so that k goes to w; 0 if k <= w  (2)
           alpha >= e (1 - 3 e^2 + 3 e^3 - e^4)^2 / w^2 where a > e                                           (3)
           hard:       four quintics whose composition is near min(1, s) on [0, 3], never above 1.011          (4)
           clip:       s <- min(w, s), by SVD                                                                (5)
           hammer:     W <- W + (w - s1) u v^T                                                               (6)
           normalize:  W <- W / max(1, s1 / w)                                                               (7)
           decay:      W <- W - rate s1 u v^T                                                                (8)
Cost       soft: two Gram matrices; hard: four, and their squares; (6) to (8): one, and `steps` products with a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from equipoise._errors import ArgumentError

HARD = (
    (0.805032, 0.206361, -0.019763),
    (0.649867, 0.162935, -0.011150),
    (1.810259, -0.200265, 0.008251),
    (1.004384, -0.183490, 0.014413),
)
_LONGEST = 2.5


@lru_cache(maxsize=256)
def soft_strength(bound: float, cap: float) -> float:
    """Equations (2) and (3), on the host.

    Args:
        bound: k, the largest singular value that may come in.
        cap: w > 0.

    Raises:
        ArgumentError: a bound beyond 2.5 caps, which no strength brings below the cap.
    """
    if bound <= cap:
        return 0.0
    if bound > _LONGEST * cap:
        cure = "Lower the learning rate: a step may add at most 1.5 times the cap."
        raise ArgumentError("largest singular value before a soft cap", bound, f"at most {_LONGEST * cap:g}", cure)
    excess = (bound - cap) / bound  # not as a difference of shares near 1, which have no digits for it
    a = _root(lambda a: excess - _lost(a), 1.0)  # (2)
    if a <= _PEAK:
        return a / bound**2
    return max(a / bound**2, _PEAK * (1 - _lost(_PEAK)) ** 2 / cap**2)  # (3)


def _lost(a: float) -> float:
    """The share of a singular value that the cap takes."""
    return a**2 * (3 - 3 * a + a**2)


def _root(falling: Callable[[float], float], high: float) -> float:
    """The root in [0, high] of a function that falls from above 0."""
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high


_PEAK = _root(lambda a: 1 - 15 * a**2 + 21 * a**3 - 9 * a**4, 0.4)


def soft_cap(x: Tensor, alpha: Tensor) -> Tensor:
    """Equation (1). `alpha`: [matrices, 1, 1]."""
    if x.shape[-2] > x.shape[-1]:
        return soft_cap(x.mT, alpha).mT
    x = torch.baddbmm(x, (x @ x.mT) * -alpha, x)
    return torch.baddbmm(x, (x @ x.mT) * alpha, x)


def hard_cap(x: Tensor) -> Tensor:
    """Equation (4)."""
    if x.shape[-2] > x.shape[-1]:
        return hard_cap(x.mT).mT
    for a, b, c in HARD:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def clip(x: Tensor, cap: Tensor | float) -> Tensor:
    """Equation (5)."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    top = cap.squeeze(-1) if isinstance(cap, Tensor) else torch.as_tensor(cap, dtype=s.dtype)
    return (u * torch.minimum(s, top)[..., None, :]) @ vt


def clip_first(x: Tensor, cap: Tensor | float, first: Tensor, capped: Tensor) -> Tensor:
    """`capped`, but (5) where `first` > 0, [matrices, 1, 1]. Without such matrices there is no SVD."""
    fresh = first > 0
    return torch.where(fresh, clip(x, cap), capped) if bool(fresh.any()) else capped


def largest(x: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """s1 by power iteration on the shorter side.

    Args:
        x: [matrices, rows, columns].
        start: [matrices, shorter side, 1], length 1.
        steps: products with the Gram matrix.

    Returns:
        s1 [matrices, 1, 1]; s1 u v^T, shaped like x; the vector to start from next time.
    """
    if x.shape[-2] > x.shape[-1]:
        top, part, vector = largest(x.mT, start, steps)
        return top, part.mT, vector
    gram, u = x @ x.mT, start
    for _ in range(steps):
        new = gram @ u
        length = torch.linalg.vector_norm(new, dim=-2, keepdim=True)
        u = torch.where(length > 0, new / length.clamp_min(torch.finfo(x.dtype).tiny), u)
    row = u.mT @ x
    return torch.linalg.vector_norm(row, dim=-1, keepdim=True), u @ row, u


def hammer(x: Tensor, cap: Tensor | float, top: Tensor, part: Tensor) -> Tensor:
    """Equation (6), in place; a matrix of zeros stays one. `top`, `part`: from `largest`."""
    return x.addcmul_(part, torch.where(top > 0, cap / top.clamp_min(torch.finfo(x.dtype).tiny) - 1, 0.0))


def normalize(x: Tensor, cap: Tensor | float, top: Tensor) -> Tensor:
    """Equation (7), in place. `top`: from `largest`."""
    return x.div_((top / cap).clamp_min(1.0))
