"""Ticks: round, inside the range, few."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.report.charts.logaxis import linear_ticks, log_axis, log_ticks


@given(st.floats(1e-30, 1e30), st.floats(1.0, 1e40))
def test_log_ticks_are_few_and_inside(low: float, ratio: float) -> None:
    high = low * ratio * 1.001
    ticks = log_ticks(low, high)
    assert 1 <= len(ticks) <= 8
    assert all(low * (1 - 1e-6) <= t <= high * (1 + 1e-6) for t in ticks)
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 1000, [1, 10, 100, 1000]),
        (0.02, 0.6, [0.03, 0.1, 0.3]),
        (2, 11, [2, 5, 10]),
        (1e-3, 1e9, [1e-3, 1, 1e3, 1e6, 1e9]),
    ],
)
def test_log_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_linear_ticks_are_few_and_inside(low: float, width: float) -> None:
    ticks = linear_ticks(low, low + width)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-6 * width - 1e-9 * abs(low) <= t <= low + width * (1 + 1e-6) + 1e-9 * abs(low) for t in ticks)


def test_an_axis_without_positive_values_is_linear() -> None:
    assert "type" not in log_axis("x", [0.0, -1.0, None, math.nan])
    assert log_axis("x", [3.0])["type"] == "log"
