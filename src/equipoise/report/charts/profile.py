"""A per-layer metric against depth: first and last sample of every arm in one chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equipoise.report.chart import Chart, Json, axis
from equipoise.report.escape import label, short_names
from equipoise.report.numbers import finites, number
from equipoise.report.palette import series, symbol, width
from equipoise.report.runs import Run
from equipoise.report.thin import Series


def profile_chart(runs: Sequence[Run], metric: str, title: str, unit: str) -> Chart | None:
    """Depth to the right, `metric` up; first sample dotted, last solid. None when no run has the metric."""
    found = [(run, table) for run in runs if (table := run.table(metric))]
    if not found:
        return None
    arms = 1 + max(run.arm for run, _ in found)
    traces = [
        t for run, table in found for t in (_line(run, table, arms, last=False), _line(run, table, arms, last=True))
    ]
    layers = max((list(table) for _, table in found), key=len)
    ticks: Json = {"tickvals": list(range(len(layers))), "ticktext": [label(n) for n in short_names(layers, 18)]}
    depth = axis("layer, input to output", zeroline=False, **(ticks if len(layers) <= 16 else {}))
    layout: Json = {"xaxis": depth, "yaxis": axis(unit, rangemode="tozero")}
    summary = ". ".join(_words(run, table) for run, table in found) + "."
    return Chart(f"profile-{metric}", title, summary, traces, layout, metrics=(metric,))


def _line(run: Run, table: dict[str, Series], arms: int, *, last: bool) -> Json:
    values = [_end(values, last=last) for _, values in table.values()]
    when = "last sample" if last else "first sample"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(range(len(values))),
        "y": finites(values),
        "name": label(run.arm_label),
        "line": {"color": series(run.arm), "width": width(run.arm, arms), "dash": "solid" if last else "dot"},
        "marker": {"size": 6 if last else 4, "color": series(run.arm), "symbol": symbol(run.arm)},
        "hovertemplate": f"{label(run.arm_label)}, {when}<br>layer %{{x}}: %{{y:.4g}}<extra></extra>",
    }


def _end(values: list[float], *, last: bool) -> float:
    order = reversed(values) if last else iter(values)
    return next((v for v in order if math.isfinite(v)), math.nan)


def _words(run: Run, table: dict[str, Series]) -> str:
    ends = [_end(values, last=True) for _, values in table.values()]
    return f"{run.arm_label}: {number(ends[0])} at the first layer, {number(ends[-1])} at the last"
