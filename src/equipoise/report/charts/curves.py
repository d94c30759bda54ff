"""Curves of one run-level metric, all runs in one chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equipoise.report.chart import Chart, Json, axis, step_axis
from equipoise.report.charts.logaxis import log_axis
from equipoise.report.charts.overlap import Curve, covered, covered_words
from equipoise.report.escape import label
from equipoise.report.numbers import count, finites, listing, number
from equipoise.report.palette import dash, series
from equipoise.report.runs import Run
from equipoise.report.thin import thin


def curve_chart(runs: Sequence[Run], metric: str, title: str, unit: str, *, log: bool | None = None) -> Chart | None:
    """All runs' curves of `metric`; None when no run has it.

    Args:
        runs: the runs of the page; runs of one arm share a colour.
        metric: a run-level metric of the store.
        title: the chart's title.
        unit: what the vertical axis counts.
        log: logarithmic vertical axis; None takes it when positive values span more than a factor of 30.
    """
    curves = [(run, *run.store.series(metric)) for run in runs]
    curves = [(run, steps, values) for run, steps, values in curves if any(math.isfinite(v) for v in values)]
    if not curves:
        return None
    dots = max(len(steps) for _, steps, _ in curves) <= 30
    if len(curves) > 1 and _all_equal(curves):
        summary = f"The same in all {len(curves)} runs: " + _summary(curves[:1], [])
        ink: Json = {"line": {"color": "@ink", "width": 1.8}, "marker": {"size": 5, "color": "@ink"}}
        traces = [_trace(curves[0], few=True, over=False, dots=dots) | ink]
    else:
        over = covered(curves)
        summary = _summary(curves, covered_words(curves, over))
        traces = [_trace(c, few=len(curves) <= 3, over=c[0].arm in over, dots=dots) for c in curves]
    height = log_axis(unit, _values(curves)) if _wants_log(curves, log) else axis(unit, **_room(curves))
    layout: Json = {"xaxis": step_axis(), "yaxis": height}
    return Chart(metric, title, summary, traces, layout, metrics=(metric,))


def _trace(curve: Curve, *, few: bool, over: bool, dots: bool) -> Json:
    run, steps, values = curve
    steps, values = thin(steps, values)
    return {
        "type": "scatter",
        "mode": "lines+markers" if dots else "lines",
        "x": steps,
        "y": finites(values),
        "name": label(run.arm_label),
        "line": {"color": series(run.arm), "width": 1.8 if few else 1.3, "dash": "5px,5px" if over else dash(run.arm)},
        "marker": {"size": 5, "color": series(run.arm)},
        "hovertemplate": f"{label(run.label)}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
    }


def _all_equal(curves: list[Curve]) -> bool:
    first = curves[0][1:]
    return all(curve[1:] == first for curve in curves[1:])


def _room(curves: list[Curve]) -> Json:
    """Plotly puts -1 .. 1 around a constant; from zero up it can be read."""
    values = _values(curves)
    return {"rangemode": "tozero"} if max(values) - min(values) <= 1e-9 * abs(max(values)) else {}


def _values(curves: list[Curve]) -> list[float]:
    return [v for _, _, values in curves for v in values if math.isfinite(v)]


def _wants_log(curves: list[Curve], log: bool | None) -> bool:
    numbers = _values(curves)
    if log is not None:
        return log and min(numbers) > 0
    return min(numbers) > 0 and max(numbers) > 30 * min(numbers)


def _summary(curves: list[Curve], more: list[str]) -> str:
    """Start and end of each arm's first curve, and where a curve stopped being finite."""
    firsts = {run.arm: (run, steps, values) for run, steps, values in reversed(curves)}
    parts = [_ends(firsts[arm], named=len(curves) > 1) for arm in sorted(firsts)][:6]
    broken = [_first_broken(c) for c in curves]
    return ". ".join([*parts, *more, *filter(None, broken)]) + "."


def _ends(curve: Curve, *, named: bool) -> str:
    run, _, values = curve
    numbers = [v for v in values if math.isfinite(v)]
    who = f"{run.label}: " if named else ""
    if min(numbers) == max(numbers):
        return f"{who}{number(numbers[0])} throughout"
    return f"{who}from {number(numbers[0])} to {number(numbers[-1])}"


def _first_broken(curve: Curve) -> str:
    run, steps, values = curve
    at = [s for s, v in zip(steps, values, strict=True) if not math.isfinite(v)]
    return f"{run.label} is not finite at {_steps(at)}" if at else ""


def _steps(steps: list[int]) -> str:
    if len(steps) > 3:
        return f"{count(len(steps))} steps from step {count(steps[0])} on"
    return "step " + listing([count(s) for s in steps])
