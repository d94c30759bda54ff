"""A logarithmic axis whose ticks a reader can read: few, round, written plainly."""

from __future__ import annotations

import math
from collections.abc import Iterable

from equipoise.report.chart import Json, axis
from equipoise.report.numbers import finite, number

_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_FEWEST, _MOST = 3, 6


def log_axis(title: str, values: Iterable[float | None], **more: object) -> Json:
    """A log axis over the positive finite values, with a little room at both ends; linear when there are none."""
    positive = [v for v in values if v is not None and math.isfinite(v) and v > 0]
    if not positive:
        return axis(title, **more)
    low, high = min(positive), max(positive)
    room = max(0.04 * math.log10(high / low), 0.03)
    ends = (low * 10**-room, high * 10**room)
    ticks = log_ticks(*ends)
    words: Json = {"tickvals": [finite(t, 12) for t in ticks], "ticktext": [number(t) for t in ticks]}
    return axis(title, type="log", range=[finite(math.log10(e)) for e in ends], **words, **more)


def log_ticks(low: float, high: float) -> list[float]:
    """Three to six round values between two positive ones, as evenly spread on a log axis as round values are.

    >>> log_ticks(1, 1000)
    [1.0, 10.0, 100.0, 1000.0]
    >>> log_ticks(0.003, 0.0045)
    [0.003, 0.0035, 0.004, 0.0045]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = math.ceil(len(decades) / _MOST)
    if every > 1:
        return _inside([10.0**k for k in decades if k % every == 0], low, high)
    for mantissas in _MANTISSAS:
        ticks = _inside([m * 10.0**k for k in decades for m in mantissas], low, high)
        if len(ticks) >= _FEWEST:
            return ticks
    return linear_ticks(low, high)


def linear_ticks(low: float, high: float) -> list[float]:
    """At most six even, round values between two."""
    rough = (high - low) / (_MOST - 1) or abs(high) or 1.0
    scale = 10.0 ** math.floor(math.log10(rough))
    gap = next(m * scale for m in (1, 2, 2.5, 5, 10) if m * scale >= rough * (1 - 1e-9))
    first, last = math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9)
    return [_clean(k * gap) for k in range(first, last + 1)]


def _inside(ticks: list[float], low: float, high: float) -> list[float]:
    return [_clean(t) for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]


def _clean(value: float) -> float:
    return float(f"{value:.10g}")
