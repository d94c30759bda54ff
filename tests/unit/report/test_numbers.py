"""Numbers in words, and what JSON may carry."""

from __future__ import annotations

import math

import pytest

from equipoise.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (2.3456, "2.35"),
        (-0.5, "−0.5"),
        (1e-4, "1e−4"),
        (1.234e-7, "1.23e−7"),
        (33_333.0, "33\u202f333"),
        (1000.0, "1000"),
        (123456.7, "1.23e5"),
        (math.nan, "not a number"),
        (math.inf, "infinite"),
        (-math.inf, "−infinite"),
        (None, "unknown"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


def test_finite_rounds_and_drops_what_json_cannot_say() -> None:
    assert numbers.finites([1.23456789, math.nan, math.inf, -math.inf, 0.0]) == [1.2346, None, None, None, 0.0]


@pytest.mark.parametrize(
    ("p", "text"), [(0.5, "p = 0.5"), (0.0123, "p = 0.012"), (1e-9, "p < 0.001"), (math.nan, "p not computed")]
)
def test_p_value(p: float, text: str) -> None:
    assert numbers.p_value(p) == text


def test_a_missing_interval_is_said_not_drawn_as_dashes() -> None:
    assert numbers.interval(math.nan, 1.0, 2) == "none"
    assert numbers.interval(-0.5, 0.25, 2, sign=True) == "−0.50 to +0.25"


@pytest.mark.parametrize(
    ("spread", "places"), [(0.5, 2), (0.034, 3), (0.0021, 4), (1e-9, 6), (40.0, 2), (0.0, 3), (math.nan, 3)]
)
def test_places(spread: float, places: int) -> None:
    assert numbers.places_for(spread) == places


def test_plural_and_listing() -> None:
    assert (numbers.plural(1, "run"), numbers.plural(12_345, "run")) == ("1 run", "12\u202f345 runs")
    assert [numbers.listing(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
