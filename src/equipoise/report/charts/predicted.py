"""Measured beside predicted, tensor by tensor: where it began, where it is, where theory says it will settle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import cast

from equipoise.report.chart import Chart, Json, step_axis
from equipoise.report.charts.logaxis import log_axis
from equipoise.report.escape import label, short, short_names
from equipoise.report.numbers import finite, finites, number, plural, share
from equipoise.report.palette import series
from equipoise.report.runs import Run
from equipoise.report.thin import Series, thin

CLOSE = 0.1  # "agrees": measured within 10 % of predicted


@dataclass(frozen=True)
class Quantity:
    """A measured metric and its prediction."""

    metric: str
    predicted: str
    title: str
    unit: str


WEIGHT_NORM = Quantity("weight_norm", "predicted_weight_norm", "Weight norm", "Frobenius norm")
ROTATION = Quantity("rotation", "predicted_rotation", "Rotation per step", "radians per step")


@dataclass(frozen=True)
class Match:
    """One tensor's numbers: first and last measured (medians of the first and last tenth), and the last prediction."""

    tensor: str
    first: float
    last: float
    predicted: float
    invariant: bool | None


def matches(run: Run, quantity: Quantity) -> list[Match]:
    """Every tensor that has both a measurement and a positive, finite prediction, in model order."""
    measured, predicted = run.store.table(quantity.metric), run.store.table(quantity.predicted)
    found = [_match(run, t, measured[t], predicted[t]) for t in measured if t in predicted]
    return [m for m in found if all(math.isfinite(v) and v > 0 for v in (m.first, m.last, m.predicted))]


def _match(run: Run, tensor: str, measured: Series, predicted: Series) -> Match:
    values = [v for v in measured[1] if math.isfinite(v)] or [math.nan]
    tenth = max(1, len(values) // 10)
    goal = next((v for v in reversed(predicted[1]) if math.isfinite(v)), math.nan)
    return Match(tensor, median(values[:tenth]), median(values[-tenth:]), goal, scale_invariant(run, tensor))


def scale_invariant(run: Run, tensor: str) -> bool | None:
    """Whether the run's own test found the tensor scale-invariant; None when it was not tested."""
    predictions = run.meta.get("predictions")
    entry = predictions.get(tensor) if isinstance(predictions, dict) else None
    value = entry.get("scale_invariant") if isinstance(entry, dict) else None
    return value if isinstance(value, bool) else None


def settled_charts(runs: Sequence[Run], quantity: Quantity) -> list[Chart]:
    """A chart for each run that has predictions, all on one axis: rows of tensors with first and last sample."""
    found = [(run, m) for run in runs if (m := matches(run, quantity))]
    values = [v for _, ms in found for m in ms for v in (m.first, m.last, m.predicted)]
    scale = log_axis(f"{quantity.unit} (log scale)", values, showgrid=True)
    return [_settled(run, quantity, ms, scale) for run, ms in found]


def _settled(run: Run, quantity: Quantity, found: list[Match], scale: Json) -> Chart:
    rows = [label(_marked(n, m)) for n, m in zip(short_names([m.tensor for m in found], 26), found, strict=True)]
    colour = series(run.arm)
    traces = [
        _way(found, rows),
        _dots("first samples", [m.first for m in found], rows, {"symbol": "circle-open", "size": 8, "color": "@muted"}),
        _dots("last samples", [m.last for m in found], rows, {"symbol": "circle", "size": 9, "color": colour}),
        _dots(
            "predicted",
            [m.predicted for m in found],
            rows,
            {"symbol": "line-ns", "size": 14, "line": {"color": "@ink", "width": 2.5}},
        ),
    ]
    rows_axis: Json = {
        "type": "category",
        "autorange": "reversed",
        "automargin": True,
        "ticksuffix": " ",
        "showgrid": False,
    }
    layout: Json = {
        "xaxis": scale,
        "yaxis": rows_axis,
        "margin": {"l": 10, "r": 14, "t": 10, "b": 46},
    }
    height = 130 + min(1000, 20 * len(found) + 20)
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


def agreement(found: list[Match]) -> str:
    """How many tensors are within 10 % of their prediction, and the one farthest away."""
    close = sum(abs(m.last / m.predicted - 1) <= CLOSE for m in found)
    far = max(found, key=lambda m: abs(math.log(m.last / m.predicted)))
    words = f"{close} of {plural(len(found), 'tensor')} end within {share(CLOSE)} of the prediction"
    ratio = number(far.last / far.predicted, 2)
    numbers = f"measured {number(far.last)}, predicted {number(far.predicted)} (×{ratio})"
    return f"{words}; farthest: {far.tensor}, {numbers}."


def chosen(run: Run, quantity: Quantity, limit: int = 3) -> list[str]:
    """The tensors whose curves are worth drawing: scale-invariant ones first, then those that moved most."""
    order = sorted(matches(run, quantity), key=lambda m: (m.invariant is not True, -abs(math.log(m.last / m.first))))
    return [m.tensor for m in order[:limit]]


def course_chart(runs: Sequence[Run], quantity: Quantity, tensor: str, index: int) -> Chart | None:
    """One tensor over time, measured (solid) and predicted (dashed), all runs given in one chart."""
    traces: list[Json] = []
    for run in runs:
        traces += [_line(run, quantity.metric, tensor, "measured"), _line(run, quantity.predicted, tensor, "predicted")]
    traces = [t for t in traces if t["x"]]
    if not traces:
        return None
    values = [v for t in traces for v in _ys(t)]
    layout: Json = {"xaxis": step_axis(), "yaxis": log_axis(quantity.unit, values)}
    summary = _last_words(runs, quantity, tensor)
    title = short(tensor, 48)
    return Chart(f"course-{quantity.metric}-{index}", title, summary, traces, layout, metrics=(quantity.predicted,))


def _line(run: Run, metric: str, tensor: str, what: str) -> Json:
    steps, values = thin(*run.store.series(metric, tensor), limit=600)
    predicted = what == "predicted"
    return {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": finites(values),
        "name": label(run.arm_label),
        "line": {"color": series(run.arm), "width": 1.5 if predicted else 2, "dash": "dash" if predicted else "solid"},
        "hovertemplate": f"{label(run.arm_label)}, {what}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
    }


def _ys(trace: Json) -> list[float | None]:
    return cast("list[float | None]", trace["y"])


def _last_words(runs: Sequence[Run], quantity: Quantity, tensor: str) -> str:
    parts = []
    for run in runs:
        last, goal = run.store.last(quantity.metric, tensor), run.store.last(quantity.predicted, tensor)
        parts.append(f"{run.arm_label}: {number(last)} measured last, {number(goal)} predicted")
    return "; ".join(parts) + "."
