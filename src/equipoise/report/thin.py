"""Fewer points where a screen cannot show more, without losing the spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence

Series = tuple[list[int], list[float]]


def thin(steps: Sequence[int], values: Sequence[float], limit: int = 1200) -> Series:
    """At most about `limit` points of a curve: from each stretch the smallest and the largest value, in order.

    NaN and infinities are kept as points of their own (the curve shows a gap there). Ends are kept.
    """
    n = len(steps)
    if n <= limit:
        return list(steps), list(values)
    width = math.ceil(2 * n / limit)
    kept = {0, n - 1}
    for start in range(0, n, width):
        kept.update(_extremes(values, range(start, min(n, start + width))))
    order = sorted(kept)
    return [steps[i] for i in order], [values[i] for i in order]


def _extremes(values: Sequence[float], stretch: range) -> set[int]:
    numbers = [i for i in stretch if math.isfinite(values[i])]
    odd = [i for i in stretch if not math.isfinite(values[i])][:1]
    if not numbers:
        return set(odd)
    return {min(numbers, key=values.__getitem__), max(numbers, key=values.__getitem__), *odd}


def stride(columns: int, rows: int, cells: int = 16_000, most: int = 160) -> int:
    """Every how many columns a heat map of `rows` rows keeps one, so that it has at most `cells` cells."""
    wanted = max(2, min(most, cells // max(rows, 1)))
    return max(1, math.ceil(columns / wanted))
