"""Measured beside predicted, tensor by tensor: where it began, where it is, where theory puts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from equipoise.report.chart import Chart, Json, step_axis
from equipoise.report.charts.logaxis import log_axis
from equipoise.report.charts.overlap import covered, covered_words
from equipoise.report.escape import label, row_names, short
from equipoise.report.matching import Match, Quantity, agreement, matches, outgrown
from equipoise.report.numbers import count, finite, finites, number
from equipoise.report.palette import series, width
from equipoise.report.runs import Run
from equipoise.report.thin import thin


def settled_charts(runs: Sequence[Run], quantity: Quantity) -> list[Chart]:
    """A chart for each run that has predictions, all on one axis: a row per tensor."""
    found = [(run, m) for run in runs if (m := matches(run, quantity))]
    values = [v for _, ms in found for m in ms for v in (m.first, m.last, m.predicted, m.equilibrium)]
    scale = log_axis(f"{quantity.unit} (log scale)", values, showgrid=True)
    return [_settled(run, quantity, ms, scale) for run, ms in found]


def _settled(run: Run, quantity: Quantity, found: list[Match], scale: Json) -> Chart:
    rows = [_marked(n, m) for n, m in zip(row_names([m.tensor for m in found], 28), found, strict=True)]
    first: Json = {"symbol": "circle-open", "size": 8, "color": "@muted"}
    last: Json = {"symbol": "circle", "size": 9, "color": series(run.arm)}
    now: Json = {"symbol": "line-ns", "size": 14, "line": {"color": "@ink", "width": 2.5}}
    settled: Json = {"symbol": "diamond-open", "size": 8, "color": "@ink"}
    traces = [
        _way(found, rows),
        _dots("first samples", [m.first for m in found], rows, first),
        _dots("last samples", [m.last for m in found], rows, last),
        _dots("predicted for the last samples", [m.predicted for m in found], rows, now),
        _dots("equilibrium", [m.equilibrium for m in found], rows, settled),
    ]
    names: Json = {"type": "category", "automargin": True, "ticksuffix": " ", "showgrid": False}
    names["range"] = [len(rows) - 0.4, -0.6]  # the first tensor on top
    layout: Json = {"xaxis": scale, "yaxis": names, "margin": {"l": 10, "r": 14, "t": 10, "b": 46}}
    height = 80 + min(1000, 20 * len(found) + 10)
    key = f"settled-{quantity.metric}-{run.arm}"
    return Chart(key, run.arm_label, agreement(found), traces, layout, height, (quantity.predicted,), run.arm)


def _marked(name: str, match: Match) -> str:
    return f"{name} *" if match.invariant is False else name


def _way(found: list[Match], rows: list[str]) -> Json:
    """A thin line from the first sample to the last; None breaks it between rows."""
    xs = [v for m in found for v in (finite(m.first), finite(m.last), None)]
    ys = [r for row in rows for r in (row, row, None)]
    line: Json = {"color": "@muted", "width": 1}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "line": line,
        "hoverinfo": "skip",
    }


def _dots(name: str, values: list[float], rows: list[str], marker: Json) -> Json:
    hover = f"%{{y}}<br>{name}: %{{x:.4g}}<extra></extra>"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": finites(values),
        "y": rows,
        "marker": marker,
        "hovertemplate": hover,
    }


def course_chart(runs: Sequence[Run], quantity: Quantity, tensor: str, index: int) -> Chart | None:
    """One tensor over time, measured (solid) and predicted (dashed), all runs given in one chart."""
    traces, arms = [], 1 + max((run.arm for run in runs), default=0)
    for run in runs:
        traces += [_line(run, quantity.metric, tensor, arms), _line(run, quantity.predicted, tensor, arms)]
    traces = [t for t in traces if t["x"]]
    if not traces:
        return None
    values = [v for t in traces for v in _ys(t)]
    layout: Json = {"xaxis": step_axis(), "yaxis": log_axis(quantity.unit, values)}
    measured = [(run, *run.store.series(quantity.metric, tensor)) for run in runs]
    over = covered_words(measured, covered(measured), dashed=False)
    summary = ". ".join([_last_words(runs, quantity, tensor), *over]) + "."
    title = short(tensor, 48)
    return Chart(f"course-{quantity.metric}-{index}", title, summary, traces, layout, metrics=(quantity.predicted,))


def _line(run: Run, metric: str, tensor: str, arms: int) -> Json:
    steps, values = thin(*run.store.series(metric, tensor), limit=600)
    what = "predicted" if metric.startswith("predicted") else "measured"
    return {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": finites(values),
        "name": label(run.arm_label),
        "line": {
            "color": series(run.arm),
            "width": width(run.arm, arms),
            "dash": "dash" if what == "predicted" else "solid",
        },
        "hovertemplate": f"{label(run.arm_label)}, {what}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
    }


def _ys(trace: Json) -> list[float | None]:
    return cast("list[float | None]", trace["y"])


def _last_words(runs: Sequence[Run], quantity: Quantity, tensor: str) -> str:
    parts = []
    for run in runs:
        last, goal = run.store.last(quantity.metric, tensor), run.store.last(quantity.predicted, tensor)
        until = outgrown(run, quantity).get(tensor)
        words = f"{number(goal)} predicted" if until is None else f"the law applied until step {count(until)} only"
        parts.append(f"{run.arm_label}: {number(last)} measured last, {words if goal is not None else 'no prediction'}")
    return "; ".join(parts)
