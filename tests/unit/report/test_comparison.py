"""comparison.json: read as it is written, found again after a move, refused with the missing field's name."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from equipoise._errors import RunError
from equipoise.report.charts.intervals import arms_chart, paired_chart
from equipoise.report.comparison import read_comparison


def test_arms_pairs_and_runs(compared: Path) -> None:
    found = read_comparison(compared)
    assert (found.metric, found.seeds, len(found.arms), len(found.paired)) == ("val_loss", (0, 1, 2), 3, 2)
    assert all(p.is_dir() for arm in found.arms for p in arm.runs)
    assert found.label_of("adamw") == "AdamW"


def test_runs_are_found_after_the_folder_moved(compared: Path, tmp_path: Path) -> None:
    data = json.loads((compared / "comparison.json").read_text())
    for arm in data["arms"]:
        arm["runs"] = [f"/nowhere/before/{r}" for r in arm["runs"]]
    moved = tmp_path / "moved"
    shutil.copytree(compared, moved)
    (moved / "comparison.json").write_text(json.dumps(data))
    assert all(p.parent == moved for arm in read_comparison(moved).arms for p in arm.runs)


def test_a_diverged_arm_has_no_mean(compared: Path, tmp_path: Path) -> None:
    data = json.loads((compared / "comparison.json").read_text())
    data["arms"][0] |= {"values": [2.0, None, 2.1], "mean": None, "low": None, "high": None}
    data["paired"][0] |= {"mean_difference": None, "low": None, "high": None, "p_value": None, "n": 0}
    (tmp_path / "comparison.json").write_text(json.dumps(data))
    found = read_comparison(tmp_path)
    assert math.isnan(found.arms[0].values[1])
    assert "no mean" in arms_chart(found).summary
    assert "none" in paired_chart(found).summary


@pytest.mark.parametrize("field", ["metric", "arms", "seeds"])
def test_a_missing_field_is_named(compared: Path, tmp_path: Path, field: str) -> None:
    data = json.loads((compared / "comparison.json").read_text())
    del data[field]
    (tmp_path / "comparison.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match=field):
        read_comparison(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"metric": 1, "arms": 3, "seeds": []}'])
def test_what_is_no_comparison_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(RunError, match=r"comparison\.json"):
        read_comparison(tmp_path)


def test_a_missing_file_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="equipoise compare"):
        read_comparison(tmp_path / "comparison.json")
