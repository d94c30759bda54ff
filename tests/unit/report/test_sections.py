"""Charts: valid plotly in both schemes, no NaN, and a sentence instead of an empty chart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import plotly.graph_objects as go
import pytest

from equipoise.doctor.store import RunStore
from equipoise.report.chart import Chart, Section, theme
from equipoise.report.charts.intervals import arms_chart, paired_chart
from equipoise.report.comparison import read_comparison
from equipoise.report.escape import script_json
from equipoise.report.palette import resolve
from equipoise.report.runs import Run, open_runs
from equipoise.report.sections import chart_sections
from web.made_runs import make_run


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def sections_of(stack: ExitStack, *folders: Path) -> dict[str, Section]:
    return {s.anchor: s for s in chart_sections(open_runs(folders, None, stack))}


def all_charts(compared: Path, stack: ExitStack) -> tuple[list[Run], list[Chart]]:
    comparison = read_comparison(compared)
    runs = open_runs([p for a in comparison.arms for p in a.runs], comparison, stack)
    charts = [c for s in chart_sections(runs) for c in s.charts]
    return runs, [arms_chart(comparison), paired_chart(comparison), *charts]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_valid_plotly(compared: Path, opened: ExitStack, scheme: str) -> None:
    _, charts = all_charts(compared, opened)
    assert len(charts) > 25
    for chart in charts:
        figure = {"data": chart.traces, "layout": chart.layout | {"height": chart.height, "template": theme(scheme)}}
        go.Figure(resolve(figure, scheme))  # raises on an unknown property or a bad value


def test_a_misspelt_property_would_be_caught() -> None:
    with pytest.raises(ValueError, match="hoverteplate"):
        go.Figure({"data": [{"type": "scatter", "hoverteplate": "x"}]})


def test_expected_charts_of_a_full_run(one_run: Path, opened: ExitStack) -> None:
    found = sections_of(opened, one_run)
    keys = {anchor: {c.key for c in s.charts} for anchor, s in found.items()}
    assert keys["curves"] == {"loss", "val_loss", "lr", "grad_norm_total"}
    assert {"timescale", "settled-weight_norm-0", "settled-rotation-0", "course-rotation-0"} <= keys["predicted"]
    assert {"weight_norm-0", "update_ratio-0", "grad_norm-0", "eps_underflow-0"} <= keys["tensors"]
    assert {"profile-stream_rms", "attention_entropy-0", "attention_max_logit-0"} == keys["layers"]
    assert keys["logits"] == {"logit_max", "logit_range", "log_partition"}
    assert "none of any layer's units" in " ".join(found["layers"].gaps)


def test_keys_are_unique_and_fit_for_an_id(compared: Path, opened: ExitStack) -> None:
    _, charts = all_charts(compared, opened)
    keys = [c.key for c in charts]
    assert len(set(keys)) == len(keys)
    assert all(k.replace("-", "").replace("_", "").isalnum() and k.isascii() for k in keys)


def test_a_bare_run_gets_sentences_not_empty_charts(tmp_path: Path, opened: ExitStack) -> None:
    with RunStore.create(tmp_path / "bare", {}) as store:
        store.write(1, "loss", 1.0)
    found = sections_of(opened, tmp_path / "bare")
    assert [len(s.charts) for s in found.values()] == [1, 0, 0, 0, 0]
    words = ("val_loss=", "No prediction", "weight norm", "inputs=", "inputs=")
    assert all(word in " ".join(s.gaps) for word, s in zip(words, found.values(), strict=True))


def test_an_empty_run_has_a_page_of_sentences(tmp_path: Path, opened: ExitStack) -> None:
    RunStore.create(tmp_path / "empty", {}).close()
    assert all(not s.charts and s.gaps for s in sections_of(opened, tmp_path / "empty").values())


def test_nan_and_infinities_become_gaps(tmp_path: Path, opened: ExitStack) -> None:
    with RunStore.create(tmp_path / "broken", {"label": "broken"}) as store:
        for step, value in enumerate([3.0, 2.0, math.nan, math.inf, -math.inf, 1.0]):
            store.write(step, "loss", value)
            for metric in ("weight_norm", "update_ratio", "attention_entropy", "stream_rms", "dead_units"):
                store.write(step, metric, value, "a.weight")
        store.write(6, "val_loss", math.nan)
        store.write(6, "weight_norm", 0.0, "zero.weight")
    found = sections_of(opened, tmp_path / "broken")
    charts = {c.key: c for s in found.values() for c in s.charts}
    script_json([c.traces for c in charts.values()])  # raises on NaN
    assert charts["loss"].traces[0]["y"] == [3.0, 2.0, None, None, None, 1.0]
    assert "not finite at step 2, 3 and 4" in charts["loss"].summary
    assert "val_loss" not in charts


def test_arms_share_one_colour_range(tmp_path: Path, opened: ExitStack) -> None:
    folders = [make_run(tmp_path / name, label=name, end=end) for name, end in (("a", 2.9), ("b", 2.4))]
    group = next(g for g in sections_of(opened, *folders)["tensors"].groups if g.title == "Weight norm")
    spans = [(c.traces[0]["zmin"], c.traces[0]["zmax"]) for c in group.charts]
    assert len(spans) == 2
    assert len(set(spans)) == 1
    assert "×1" in [text for _, text in group.key.ticks]


def test_rows_stand_in_model_order(tmp_path: Path, opened: ExitStack) -> None:
    names = ["first", "second", "third"]
    with RunStore.create(tmp_path / "order", {"parameters": {n: {} for n in names}}) as store:
        store.write(1, "weight_norm", 1.0, "third")
        store.write(2, "weight_norm", 1.0, "first")
        store.write(2, "weight_norm", 1.5, "second")
    chart = sections_of(opened, tmp_path / "order")["tensors"].charts[0]
    assert chart.traces[0]["y"] == names


def test_equal_curves_are_drawn_once_and_said_to_be_equal(compared: Path, opened: ExitStack) -> None:
    _, charts = all_charts(compared, opened)
    lr = next(c for c in charts if c.key == "lr")
    assert len(lr.traces) == 1
    assert lr.summary.startswith("The same in all 9 runs")


def test_curves_that_lie_on_each_other_are_dashed_and_named(tmp_path: Path, opened: ExitStack) -> None:
    for name, offset in (("a", 0.0), ("b", 1e-4), ("c", 0.5)):
        with RunStore.create(tmp_path / name, {"label": name}) as store:
            for step in range(1, 20):
                store.write(step, "loss", 3.0 / step + offset)
    chart = sections_of(opened, *(tmp_path / n for n in "abc"))["curves"].charts[0]
    assert [t["line"]["dash"] for t in chart.traces] == ["solid", "5px,5px", "solid"]
    assert "b (dashed) lies on a" in chart.summary


def predicted_run(folder: Path, *, until: int) -> Path:
    with RunStore.create(folder, {"label": "run"}) as store:
        for step in range(1, 101):
            store.write(step, "weight_norm", 10.0 + step / 100, "a.weight")
            if step <= until:
                store.write(step, "predicted_weight_norm", 10.5, "a.weight")
    return folder


def test_agreement_is_judged_at_the_same_steps(tmp_path: Path, opened: ExitStack) -> None:
    chart = next(c for c in sections_of(opened, predicted_run(tmp_path / "full", until=100))["predicted"].charts)
    assert chart.summary.startswith("1 of 1 tensor end within 10 % of the prediction")


def test_a_prediction_that_ended_early_is_not_compared_with_the_end(tmp_path: Path, opened: ExitStack) -> None:
    section = sections_of(opened, predicted_run(tmp_path / "early", until=40))["predicted"]
    assert section.charts == ()
    assert "1 tensor left out (a.weight)" in " ".join(section.gaps)


def test_matrices_decide_the_colours_of_weight_norms(tmp_path: Path, opened: ExitStack) -> None:
    shapes = {"w": {"shape": [4, 4]}, "b": {"shape": [4]}}
    with RunStore.create(tmp_path / "run", {"parameters": shapes}) as store:
        for step in (1, 2, 3):
            store.write(step, "weight_norm", 1.0 + 0.1 * step, "w")
            store.write(step, "weight_norm", 1e-3 * 10**step, "b")
    group = sections_of(opened, tmp_path / "run")["tensors"].groups[0]
    assert group.charts[0].traces[0]["zmax"] < 0.5
    assert group.note.startswith("33 % of the cells lie beyond")
