"""The demo: its plan fits, its story follows from the numbers, and it goes through on a small model."""

import json
import time
from dataclasses import replace

import pytest

from equipoise.cli import demo_plan, demo_story, main
from equipoise.cli.demo_story import find_remedy, prediction_rows, the_arms, the_mistake, verdict
from equipoise.recipes.data import TextData
from equipoise.recipes.models import GPTSpec
from equipoise.train import Comparison, fit, interval, paired_difference
from equipoise.train.comparison import Arm, Paired


def small_mistake():
    """The demo's recipe on a model of a few thousand parameters."""
    small = replace(the_mistake(), model=GPTSpec(width=16, heads=2, layers=2), batch_size=4)
    return replace(small, data=TextData("python", context=16, windows=8), watch_every=2)


def comparison(mistake, remedy, bare) -> Comparison:
    arms = []
    for name, values in (("mistake", mistake), ("remedy", remedy), ("bare", bare)):
        found = interval(values)
        arms.append(Arm(name, name, tuple(values), found.mean, found.low, found.high, ()))
    pairs = []
    for arm in arms[1:]:
        d = paired_difference(arm.values, mistake)
        pairs.append(Paired(arm.name, "mistake", d.mean, d.low, d.high, d.p_value, d.n))
    return Comparison("val_loss", {}, (0, 1, 2), tuple(arms), tuple(pairs), "")


def test_the_verdict_says_what_the_numbers_say():
    better = verdict(comparison([3.0, 3.1, 3.2], [2.5, 2.61, 2.69], [2.51, 2.6, 2.7]))
    assert better[0].startswith("The remedy lowers the held-out loss by 0.5000 nats per byte (95 % interval -0.5")
    assert "makes no difference that 3 seeds can show" in better[1]
    worse = verdict(comparison([3.0, 3.1, 3.2], [3.5, 3.61, 3.69], [3.0, 3.0, 3.0]))
    assert "raises the held-out loss by 0.5000" in worse[0]
    assert "That is 100.0% of the remedy's effect" not in worse[1]
    assert better[1].endswith("of the remedy's effect.")
    assert "cannot be judged" in verdict(comparison([3.0], [2.0], [2.0]))[0]
    unclear = verdict(comparison([3.0, 3.1, 3.2], [2.0, 3.9, 3.0], [3.0, 3.0, 3.0]))
    assert "makes no difference that 3 seeds can show" in unclear[0]


def test_the_doctor_finds_the_mistake_and_not_the_cure(tmp_path):
    mistake = small_mistake().with_(steps=8)
    fit(mistake, tmp_path / "mistake")
    finding = find_remedy(tmp_path / "mistake")
    assert finding is not None
    assert finding.rule == "coupled_decay"
    arms = the_arms(mistake, finding)
    assert [(a.optimizer, a.weight_decay) for a in arms] == [("adam", 0.1), ("adamw", 0.1), ("adamw", 0.0)]
    assert {replace(a, optimizer="", weight_decay=0, label="") for a in arms} == {
        replace(mistake, optimizer="", weight_decay=0, label="")
    }
    fit(arms[1], tmp_path / "cured")
    assert find_remedy(tmp_path / "cured") is None
    rows = prediction_rows(tmp_path / "cured")
    assert 1 <= len(rows) <= 4
    assert all(float(norm) == pytest.approx(float(predicted), rel=0.2) for _, norm, predicted, *_ in rows)


def test_the_plan_fits_the_time_it_promises(monkeypatch):
    recipe = small_mistake()
    monkeypatch.setattr(demo_plan, "_timed", lambda recipe: (0.15, 0.5))
    plan = demo_plan.make_plan(recipe, 9, None)
    assert 120 < plan.steps < 150
    assert plan.seconds == pytest.approx(demo_plan.BUDGET, rel=0.02)
    monkeypatch.setattr(demo_plan, "_timed", lambda recipe: (0.01, 0.05))
    assert demo_plan.make_plan(recipe, 9, None).steps == demo_plan.MOST
    monkeypatch.setattr(demo_plan, "_timed", lambda recipe: (1.0, 5.0))
    slow = demo_plan.make_plan(recipe, 9, None)
    assert slow.steps == demo_plan.FEWEST
    assert slow.seconds > 1000
    assert demo_plan.make_plan(recipe, 9, 7).steps == 7


@pytest.fixture
def small_demo(tmp_path, monkeypatch, request):
    import torch

    threads = torch.get_num_threads()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(demo_story, "the_mistake", small_mistake)
    yield tmp_path / "out"
    torch.set_num_threads(threads)


def test_the_demo_goes_through_on_a_narrow_terminal(small_demo, capsys):
    words = ["demo", "--out", str(small_demo), "--steps", "6", "--seeds", "0", "1", "--threads", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    order = [
        "About ",
        "1  Train",
        "2  Ask the doctor",
        "coupled",
        "3  Apply",
        "adam -> adamw",
        "4  What",
        "The remedy",
        "page:",
    ]
    places = [out.index(part) for part in order]
    assert places == sorted(places)
    assert "has no time to act" in out.replace("\n", " ").replace("  ", " ")
    assert all(len(line) <= 60 for line in out.splitlines() if "page:" not in line)
    page = (small_demo / "demo.html").read_text(encoding="utf-8")
    found = json.loads((small_demo / "runs" / "comparison.json").read_text())
    assert [len(a["values"]) for a in found["arms"]] == [2, 2, 2]
    assert "the remedy" in page
    begun = time.time()
    assert main(words) == 0  # a finished demo is made anew
    assert (small_demo / "runs" / "comparison.json").stat().st_mtime >= begun


def test_a_stopped_demo_goes_on(small_demo, capsys, monkeypatch):
    words = ["demo", "--out", str(small_demo), "--steps", "6", "--seeds", "0", "1", "--threads", "1"]
    true_compare = demo_story.compare

    def stopped(arms, **kw):
        true_compare(arms[:2], **{**kw, "seeds": [0]})
        (small_demo / "runs" / "comparison.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_story, "compare", stopped)
    assert main(words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(demo_story, "compare", true_compare)
    assert main(["demo", "--out", str(small_demo), "--steps", "9"]) == 2
    assert "holds a stopped demo of 6 steps" in capsys.readouterr().err
    before = next((small_demo / "runs").glob("*/seed-0/result.json")).stat().st_mtime_ns
    assert main([w for w in words if w not in ("--steps", "6")]) == 0
    assert next((small_demo / "runs").glob("*/seed-0/result.json")).stat().st_mtime_ns == before


def test_a_doctor_that_finds_nothing_ends_the_demo_honestly(small_demo, capsys, monkeypatch):
    monkeypatch.setattr(demo_story, "the_mistake", lambda: small_mistake().with_(optimizer="adamw"))
    assert main(["demo", "--out", str(small_demo), "--steps", "4", "--threads", "1"]) == 1
    assert "found nothing to cure" in capsys.readouterr().out
