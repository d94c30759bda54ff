"""AdamW's averaging time-scale 1/(lr x weight decay) beside the length of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.report.chart import Chart, Json
from equipoise.report.charts.logaxis import log_axis
from equipoise.report.escape import label, short_names
from equipoise.report.numbers import count, finite, number, share
from equipoise.report.palette import series
from equipoise.report.runs import Run


@dataclass(frozen=True)
class Span:
    """A run's length beside its decay's time-scale, both in optimizer steps; epochs None when unknown."""

    run: Run
    timescale: float
    horizon: float
    epochs: float | None

    @property
    def words(self) -> str:
        """The comparison in one sentence."""
        covered = self.horizon / self.timescale
        verdict = "decay has hardly any time to act" if covered < 0.1 else "decay acts within the run"
        epochs = f" ({number(self.epochs)} epochs)" if self.epochs is not None else ""
        scale = f"time-scale {count(round(self.timescale))} steps{epochs}"
        return (
            f"{self.run.arm_label}: {scale}, run {count(round(self.horizon))} steps, {share(covered)} of it: {verdict}"
        )


def span_of(run: Run) -> Span | None:
    """The run's time-scale and length from its meta; None when it has no decoupled decay or did not say."""
    entry = run.meta.get("timescale")
    if not isinstance(entry, dict):
        return None
    timescale = _positive(entry.get("steps"))
    horizon = _positive(entry.get("horizon")) or float(run.steps)
    if timescale is None or horizon <= 0:
        return None
    return Span(run, timescale, horizon, _positive(entry.get("epochs")))


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return finite(value) if value > 0 else None


def timescale_chart(runs: Sequence[Run]) -> Chart | None:
    """A row per run: run length as a dot, time-scale as a bar mark, on a log axis of steps. None without any."""
    spans = [s for run in runs if (s := span_of(run))]
    if not spans:
        return None
    rows = [label(n) for n in short_names([s.run.arm_label for s in spans], 34)]
    colours = [series(s.run.arm) for s in spans]
    traces = [
        _marks("run length", [s.horizon for s in spans], rows, {"symbol": "circle", "size": 11, "color": colours}),
        _marks(
            "time-scale",
            [s.timescale for s in spans],
            rows,
            {"symbol": "line-ns", "size": 18, "line": {"color": "@ink", "width": 3}},
        ),
    ]
    rows_axis: Json = {"type": "category", "automargin": True, "ticksuffix": "  ", "showgrid": False}
    rows_axis["range"] = [len(rows) - 0.4, -0.6]
    steps = log_axis("optimizer steps (log scale)", [v for s in spans for v in (s.horizon, s.timescale)], showgrid=True)
    layout: Json = {
        "xaxis": steps,
        "yaxis": rows_axis,
        "margin": {"l": 10, "r": 14, "t": 10, "b": 46},
    }
    summary = ". ".join(s.words for s in spans) + "."
    return Chart(
        "timescale",
        "Decay's time-scale beside the run's length",
        summary,
        traces,
        layout,
        150 + 40 * len(rows),
        ("timescale",),
    )


def _marks(name: str, values: list[float], rows: list[str], marker: Json) -> Json:
    hover = f"%{{y}}<br>{name}: %{{x:.4g}} steps<extra></extra>"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [finite(v) for v in values],
        "y": rows,
        "marker": marker,
        "hovertemplate": hover,
    }
