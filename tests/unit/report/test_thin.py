"""A thinned curve keeps its ends, its spikes and its gaps."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from equipoise.report.thin import stride, thin


def test_a_short_curve_is_left_alone() -> None:
    assert thin([1, 2], [0.5, math.inf]) == ([1, 2], [0.5, math.inf])


def test_a_single_spike_and_a_single_gap_survive() -> None:
    values = [1.0] * 50_000
    values[31_234], values[40_001] = 99.0, math.nan
    steps, kept = thin(range(50_000), values, 1000)
    assert len(steps) <= 1010
    assert (31_234, 99.0) in zip(steps, kept, strict=True)
    assert 40_001 in steps
    assert (steps[0], steps[-1]) == (0, 49_999)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=400), st.integers(10, 60))
def test_extremes_stay_and_steps_ascend(values: list[float], limit: int) -> None:
    steps, kept = thin(range(len(values)), values, limit)
    assert steps == sorted(set(steps))
    numbers = [v for v in values if math.isfinite(v)]
    found = [v for v in kept if math.isfinite(v)]
    if numbers:
        assert (min(found), max(found)) == (min(numbers), max(numbers))


@given(st.integers(1, 100_000), st.integers(1, 3000))
def test_a_heat_map_has_a_bounded_number_of_cells(columns: int, rows: int) -> None:
    shown = -(-columns // stride(columns, rows))
    assert shown <= 160
    assert shown * rows <= max(16_000, 2 * rows)
