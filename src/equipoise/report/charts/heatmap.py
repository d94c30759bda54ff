"""Heat maps: one row per tensor or layer in model order, one column per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from equipoise.report.chart import Chart, ColourKey, Group, Json, step_axis
from equipoise.report.charts.logaxis import linear_ticks, log_ticks
from equipoise.report.escape import row_names
from equipoise.report.numbers import count, finite, listing, number, plural, share
from equipoise.report.runs import Run
from equipoise.report.thin import Series, stride


@dataclass(frozen=True)
class HeatSpec:
    """How a metric becomes a heat map.

    Attributes:
        metric: store metric, per tensor or layer.
        title: what is shown.
        transform: from a row's values to colour values.
        scale: colour token, "@sequential" or "@diverging".
        bar: what the colours count.
        span: fixed colour range, None for the range of all runs shown (symmetric for a diverging scale).
        fit: rows that decide the colour range; biases that begin at zero would wash out everything else.
        powers: base of the logarithm that `transform` takes, None when it takes none.
    """

    metric: str
    title: str
    transform: Callable[[list[float]], list[float]]
    scale: str
    bar: str
    span: tuple[float, float] | None = None
    powers: int | None = None
    fit: Literal["all", "matrices"] = "all"


def plain(values: list[float]) -> list[float]:
    """The values themselves."""
    return values


def log10(values: list[float]) -> list[float]:
    """Base-10 logarithm; NaN for what has none."""
    return [math.log10(v) if v > 0 and math.isfinite(v) else math.nan for v in values]


def log2_to_first(values: list[float]) -> list[float]:
    """Base-2 logarithm of the ratio to the first positive, finite value."""
    first = next((v for v in values if v > 0 and math.isfinite(v)), math.nan)
    return [math.log2(v / first) if v > 0 and math.isfinite(v) else math.nan for v in values]


@dataclass(frozen=True)
class _Grid:
    run: Run
    names: list[str]
    steps: list[int]
    raw: list[list[float]]
    colour: list[list[float]]
    kept: int


def heat_group(runs: Sequence[Run], spec: HeatSpec) -> Group | None:
    """A heat map of `spec.metric` for each run that has it, on one colour range with one key; None when none has."""
    grids = [_grid(run, table, spec) for run in runs if (table := _in_model_order(run, spec.metric))]
    grids = [g for g in grids if _finite([g])]
    if not grids:
        return None
    values = _finite(grids)
    decisive = (_finite([_matrices(g) for g in grids]) if spec.fit == "matrices" else []) or values
    span = spec.span or _span(decisive, symmetric=spec.scale == "@diverging")
    charts = tuple(_chart(grid, spec, span) for grid in grids)
    beyond = sum(not span[0] <= v <= span[1] for v in values)
    note = (
        f"{share(beyond / len(values))} of the cells lie beyond the scale and have the colour of its end."
        if beyond
        else ""
    )
    return Group(spec.title, charts, note, _key(spec, span))


def _in_model_order(run: Run, metric: str) -> dict[str, Series]:
    """The metric's curves as the model lists its parameters: a store lists them by their first number."""
    table, listed = run.table(metric), run.meta.get("parameters")
    order = {name: i for i, name in enumerate(listed)} if isinstance(listed, dict) else {}
    return dict(sorted(table.items(), key=lambda item: order.get(item[0], len(order))))


def _grid(run: Run, table: dict[str, Series], spec: HeatSpec) -> _Grid:
    steps = sorted({s for found, _ in table.values() for s in found})
    kept = stride(len(steps), len(table))
    shown = steps[::kept]
    full = [_aligned(series, steps) for series in table.values()]
    colour = [spec.transform(row)[::kept] for row in full]
    return _Grid(run, list(table), shown, [row[::kept] for row in full], colour, kept)


def _aligned(series: Series, steps: list[int]) -> list[float]:
    known = dict(zip(*series, strict=True))
    return [known.get(s, math.nan) for s in steps]


def _span(values: list[float], *, symmetric: bool) -> tuple[float, float]:
    """The colour range: all values, but for the outermost that would wash out the rest (a bias that began at zero)."""
    if symmetric:
        sizes = sorted(abs(v) for v in values)
        edge = max(_robust(sizes), 0.05)
        return -edge, edge
    order = sorted(values)
    low, high = -_robust([-v for v in order[::-1]]), _robust(order)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _robust(order: list[float]) -> float:
    """The largest of ascending values, or a robust bound when it is far beyond the 95th percentile."""
    middle, high = order[len(order) // 2], order[min(len(order) - 1, int(0.95 * len(order)))]
    usual = middle + 1.25 * (high - middle)
    return usual if order[-1] > middle + 2 * (high - middle) > middle else order[-1]


def _matrices(grid: _Grid) -> _Grid:
    """The rows of parameters with two axes or more, as the run lists their shapes."""
    listed = grid.run.meta.get("parameters")
    shapes = {n: f.get("shape") for n, f in listed.items()} if isinstance(listed, dict) else {}
    kept = [row for name, row in zip(grid.names, grid.colour, strict=True) if len(shapes.get(name) or ()) > 1]
    return replace(grid, colour=kept)


def _finite(grids: list[_Grid]) -> list[float]:
    return [v for g in grids for row in g.colour for v in row if math.isfinite(v)]


def _chart(grid: _Grid, spec: HeatSpec, span: tuple[float, float]) -> Chart:
    names, shown = row_names(grid.names), "z" if spec.powers is None else "customdata"
    trace: Json = {
        "type": "heatmap",
        "x": grid.steps,
        "y": names,
        "z": _rounded(grid.colour),
        **({} if spec.powers is None else {"customdata": _rounded(grid.raw)}),
        "colorscale": spec.scale,
        "zmin": finite(span[0]),
        "zmax": finite(span[1]),
        "hoverongaps": False,
        "hovertemplate": f"%{{y}}<br>step %{{x}}: %{{{shown}:.4g}}<extra></extra>",
        "showscale": False,
    }
    few: Json = {"tickvals": grid.steps} if len(grid.steps) < 3 else {}
    rows: Json = {"type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": " ", "showgrid": False}
    layout: Json = {"xaxis": step_axis(**few), "yaxis": rows, "margin": {"l": 10, "r": 6, "t": 8, "b": 44}}
    height = 70 + min(1100, max(60, round(len(names) * (15 if len(names) <= 64 else 11))))
    key = f"{spec.metric}-{grid.run.arm}"
    return Chart(key, grid.run.arm_label, _summary(grid, spec), [trace], layout, height, (spec.metric,), grid.run.arm)


def _rounded(rows: list[list[float]]) -> list[list[float | None]]:
    return [[finite(v, 3) for v in row] for row in rows]


def _key(spec: HeatSpec, span: tuple[float, float]) -> ColourKey:
    low, high = span
    if spec.powers:
        values = log_ticks(spec.powers**low, spec.powers**high)
        places = [math.log(v, spec.powers) for v in values]
    else:
        values = places = linear_ticks(low, high)
    sign = "×" if spec.powers == 2 else ""
    ticks = [
        (round(100 * (p - low) / (high - low), 2), f"{sign}{number(v)}") for p, v in zip(places, values, strict=True)
    ]
    return ColourKey(spec.scale.removeprefix("@"), spec.bar, tuple(ticks))


def _summary(grid: _Grid, spec: HeatSpec) -> str:
    size = f"{plural(len(grid.names), 'row')} in model order, {plural(len(grid.steps), 'sample')}"
    if grid.kept > 1:
        size += f" (one in {count(grid.kept)} shown)"
    ends = [(name, last) for name, row in zip(grid.names, grid.raw, strict=True) if (last := _last(row)) is not None]
    broken = [
        n
        for n, row in zip(grid.names, grid.raw, strict=True)
        if any(not math.isfinite(v) for v in row if v is not None)
    ]
    words = f"{size}. {_extremes(grid, spec, ends)}"
    return words + (f" Gaps in {listing(broken[:3])}: not measured or not finite there." if broken else "")


def _extremes(grid: _Grid, spec: HeatSpec, ends: list[tuple[str, float]]) -> str:
    if not ends:
        return ""
    if spec.powers == 2:
        growth = [(n, 2**v) for n, row in zip(grid.names, grid.colour, strict=True) if (v := _last(row)) is not None]
        (low, a), (high, b) = min(growth, key=_value), max(growth, key=_value)
        return f"By the last sample: smallest {low} at ×{number(a)} of its first value, largest {high} at ×{number(b)}."
    (low, a), (high, b) = min(ends, key=_value), max(ends, key=_value)
    if a == b:
        return f"At the last sample {number(a)} everywhere."
    return f"At the last sample from {number(a)} ({low}) to {number(b)} ({high})."


def _value(pair: tuple[str, float]) -> float:
    return pair[1]


def _last(row: list[float]) -> float | None:
    return next((v for v in reversed(row) if math.isfinite(v)), None)
