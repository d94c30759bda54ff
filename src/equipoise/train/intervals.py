"""Means with intervals, and differences paired by seed.

Symbols: n values, mean m, sample standard deviation s (n - 1 in the denominator), t the Student-t quantile.
  (1) interval = m +- t_{n-1} s / sqrt(n)
  (2) paired: the same on the differences d_i = a_i - b_i of equal seeds; p-value of "the mean difference is 0" from
      |mean(d)| sqrt(n) / s(d)
Pairing takes out what a seed does to both arms (initial weights, data order), which is most of the noise of short runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from equipoise._errors import ArgumentError
from equipoise.train.student_t import t_quantile, two_sided_p

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; low and high are None for a single value."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a - b over n seeds with its 95 % interval and two-sided p-value (None below two seeds)."""

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    n: int


def interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Mean and Student-t interval of the values, equation (1). Raises ArgumentError for none or non-finite values."""
    _check(values)
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = t_quantile(level, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def paired_difference(a: Sequence[float], b: Sequence[float], *, level: float = LEVEL) -> PairedDifference:
    """The difference a - b, seed by seed, equation (2). Raises ArgumentError for unequal lengths."""
    if len(a) != len(b):
        raise ArgumentError("paired values", f"{len(a)} and {len(b)}", "as many of one as of the other")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    found = interval(differences, level=level)
    return PairedDifference(found.mean, found.low, found.high, _p_value(differences), len(differences))


def _p_value(differences: Sequence[float]) -> float | None:
    if len(differences) < 2:
        return None
    spread = statistics.stdev(differences) / math.sqrt(len(differences))
    mean = statistics.fmean(differences)
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    return two_sided_p(mean / spread, len(differences) - 1)


def _check(values: Sequence[float]) -> None:
    if not values or not all(math.isfinite(v) for v in values):
        raise ArgumentError("values", list(values), "at least one, all finite", "Leave diverged runs out, and say so.")
