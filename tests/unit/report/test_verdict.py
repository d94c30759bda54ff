"""The first words: they say better, worse or not shown, never more than the interval allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from equipoise.report.comparison import Comparison, Pair, read_comparison
from equipoise.report.findings import Diagnoses
from equipoise.report.runs import Run, open_runs
from equipoise.report.verdict import pair_sentence, verdict


@pytest.fixture
def runs(one_run: Path) -> Iterator[list[Run]]:
    with ExitStack() as stack:
        yield open_runs([one_run], None, stack)


Numbers = tuple[float, float, float]
NOTHING = Diagnoses([], [], [], [])


def _with(compared: Path, *pairs: tuple[float, float, float]) -> Comparison:
    names = ("adamw", "no_decay")
    made = tuple(Pair(n, "adam_l2", m, lo, hi, 0.01, 3) for n, (m, lo, hi) in zip(names, pairs, strict=False))
    return replace(read_comparison(compared), paired=made)


@pytest.mark.parametrize(
    ("pair", "headline"),
    [
        ((-0.45, -0.51, -0.39), "AdamW lowers validation loss by 0.45 against Adam, decay in the gradient"),
        ((0.2, 0.1, 0.3), "AdamW raises validation loss by 0.20 against Adam, decay in the gradient"),
        ((-0.2, -0.5, 0.1), "No difference shown between AdamW and Adam, decay in the gradient"),
        ((-0.2, math.nan, math.nan), "No difference shown between AdamW and Adam, decay in the gradient"),
    ],
)
def test_headline_follows_the_interval(
    compared: Path, runs: list[Run], pair: tuple[float, float, float], headline: str
) -> None:
    assert verdict(runs, NOTHING, _with(compared, pair)).headline.replace("0.450", "0.45") == headline


def test_noise_between_arms_does_not_choose_the_headline(compared: Path, runs: list[Run]) -> None:
    alike = _with(compared, (-0.44, -0.50, -0.38), (-0.45, -0.52, -0.38))
    better = _with(compared, (-0.44, -0.50, -0.38), (-0.80, -0.90, -0.70))
    assert verdict(runs, NOTHING, alike).headline.startswith("AdamW lowers")
    assert verdict(runs, NOTHING, better).headline.startswith("AdamW, no decay lowers")


def test_the_sentence_has_difference_interval_p_and_n(compared: Path) -> None:
    comparison = _with(compared, (-0.45, -0.51, -0.39))
    sentence = pair_sentence(comparison.paired[0], comparison)
    for part in ("lower by 0.450", "−0.510 to −0.390", "p = 0.01", "3 paired seeds", "→"):
        assert part in sentence


def test_without_a_comparison_no_effect_is_claimed(runs: list[Run]) -> None:
    found = verdict(runs, NOTHING, None)
    assert (found.figure, found.helped) == ("", ())
    assert "No fault found" in found.headline


def test_a_run_that_cannot_be_diagnosed_is_not_called_healthy(runs: list[Run]) -> None:
    found = verdict(runs, replace(NOTHING, failed=["run: broken"]), None)
    assert "No fault" not in found.headline
    assert all("no fault" not in line for line in found.found)
