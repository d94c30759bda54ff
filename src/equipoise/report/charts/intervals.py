"""A comparison's two charts: every seed with mean and interval, and the paired differences."""

from __future__ import annotations

import math

from equipoise.report.chart import Chart, Json, axis
from equipoise.report.comparison import Arm, Comparison, Pair
from equipoise.report.escape import label, short, short_names
from equipoise.report.numbers import finite, finites, fixed, interval, number, p_value, places_for, signed
from equipoise.report.palette import series, symbol


def arms_chart(comparison: Comparison) -> Chart:
    """One row per arm: a dot per seed, the mean as a diamond, its 95 % interval as a bar."""
    rows = [label(n) for n in short_names([a.label for a in comparison.arms], 34)]
    traces = [t for i, arm in enumerate(comparison.arms) for t in (_seeds(i, arm), _mean(i, arm))]
    layout = _layout(rows, f"{comparison.metric} (lower is better)")
    summary = "; ".join(_arm_words(a) for a in comparison.arms) + "."
    return Chart("comparison-arms", "Every seed, mean and 95 % interval", summary, traces, layout, _height(rows))


def paired_chart(comparison: Comparison) -> Chart | None:
    """One row per pair of arms: mean difference with its 95 % interval, against zero. None without pairs."""
    if not comparison.paired:
        return None
    names = [f"{comparison.label_of(p.arm)} − {comparison.label_of(p.baseline)}" for p in comparison.paired]
    rows = [_pair_label(comparison, p) for p in comparison.paired]
    arms = [a.name for a in comparison.arms]
    traces = [_pair(i, p, arms.index(p.arm) if p.arm in arms else 0) for i, p in enumerate(comparison.paired)]
    layout = _layout(rows, "difference (left is better)")
    layout["shapes"] = [_zero_line()]
    summary = "; ".join(f"{n}: {_pair_words(p)}" for n, p in zip(names, comparison.paired, strict=True)) + "."
    return Chart("comparison-pairs", "Differences, paired by seed", summary, traces, layout, _height(rows))


def _pair_label(comparison: Comparison, pair: Pair) -> str:
    arm, base = (label(short(comparison.label_of(n), 30)) for n in (pair.arm, pair.baseline))
    return f"{arm}<br>− {base}"


def _height(rows: list[str]) -> int:
    return 110 + 44 * len(rows)


def _layout(rows: list[str], title: str) -> Json:
    # Rows are numbers, so that the seeds' dots can stand a little below the mean; the range leaves room at both ends.
    ends = [len(rows) - 0.4, -0.6]
    rows_axis = axis(tickvals=list(range(len(rows))), ticktext=rows, range=ends, showgrid=False, zeroline=False)
    return {
        "xaxis": axis(label(title), showgrid=True),
        "yaxis": rows_axis,
        "margin": {"l": 10, "r": 14, "t": 10, "b": 46},
    }


def _seeds(index: int, arm: Arm) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": finites(arm.values),
        "y": [index + 0.24] * len(arm.values),
        "marker": {"symbol": "circle-open", "size": 8, "color": series(index)},
        "hovertemplate": "one seed: %{x:.4f}<extra></extra>",
    }


def _mean(index: int, arm: Arm) -> Json:
    return _with_interval(index, index, arm.mean, arm.low, arm.high) | {"hovertemplate": "mean %{x:.4f}<extra></extra>"}


def _with_interval(arm: int, row: int, middle: float, low: float, high: float) -> Json:
    up, down = finite(high - middle), finite(middle - low)
    error: Json = {"type": "data", "symmetric": False, "array": [up], "arrayminus": [down]}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [finite(middle)],
        "y": [row],
        "error_x": error | {"color": series(arm), "thickness": 2.5, "width": 6, "visible": None not in (up, down)},
        "marker": {"symbol": "diamond", "size": 12, "color": series(arm)},
    }


def _pair(row: int, pair: Pair, arm: int) -> Json:
    trace = _with_interval(arm, row, pair.mean_difference, pair.low, pair.high)
    hover = f"{signed(pair.mean_difference, 4)}<br>{label(p_value(pair.p_value))}<extra></extra>"
    return trace | {"hovertemplate": hover, "marker": {"symbol": symbol(arm), "size": 11, "color": series(arm)}}


def _zero_line() -> Json:
    return {
        "type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1,
        "line": {"color": "@ink", "width": 1.2, "dash": "dot"},
    }  # fmt: skip


def _arm_words(arm: Arm) -> str:
    if math.isnan(arm.mean):
        return f"{arm.label}: no mean, not every seed gave a number"
    places = places_for(arm.high - arm.mean)
    return f"{arm.label}: mean {fixed(arm.mean, places)}, 95 % interval {interval(arm.low, arm.high, places)}"


def _pair_words(pair: Pair) -> str:
    places = places_for(pair.high - pair.mean_difference)
    ends = interval(pair.low, pair.high, places, sign=True)
    return f"{signed(pair.mean_difference, places)} ({ends}; {p_value(pair.p_value)}; {number(pair.n)} pairs)"
