"""When a predicate counts: in k of the last n samples, not once; and a spread that outliers cannot move."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

K, N = 3, 5  # default persistence [engineering heuristic]


def held_at(flags: Sequence[bool], *, k: int = K, n: int = N) -> int | None:
    """Index at which `k` of the last `n` flags were first true, or None. Shorter sequences can hold too."""
    for end in range(len(flags)):
        if sum(flags[max(0, end - n + 1) : end + 1]) >= k:
            return end
    return None


def holds_at_end(flags: Sequence[bool], *, k: int = K, n: int = N) -> bool:
    """Whether `k` of the last `n` flags are true."""
    return sum(flags[-n:]) >= k


def robust_z(value: float, window: Sequence[float]) -> float:
    """(value - median) / (1.4826 MAD) against a trailing window; 0 when the window is too short or flat."""
    known = [v for v in window if math.isfinite(v)]
    if len(known) < 10:
        return 0.0
    middle = statistics.median(known)
    spread = 1.4826 * statistics.median(abs(v - middle) for v in known)
    return (value - middle) / spread if spread > 0 else 0.0


def straightness(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Slope and R^2 of the least-squares line through the points; (0, 0) for fewer than 3 or a flat x."""
    if len(xs) < 3 or len(set(xs)) < 2:
        return 0.0, 0.0
    mx, my = statistics.fmean(xs), statistics.fmean(ys)
    sxx = sum((x - mx) ** 2 for x in xs)
    sxy = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    syy = sum((y - my) ** 2 for y in ys)
    return sxy / sxx, (sxy**2 / (sxx * syy) if syy > 0 else 0.0)
