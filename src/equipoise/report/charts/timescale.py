"""AdamW's averaging time-scale 1/(lr x weight decay) beside the length of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.report.chart import Chart, Json
from equipoise.report.charts.logaxis import log_axis
from equipoise.report.escape import label, short_names
from equipoise.report.numbers import count, finite, finites, number, share
from equipoise.report.palette import series
from equipoise.report.runs import Run


@dataclass(frozen=True)
class Span:
    """A run's length beside its decay's time-scale, both in optimizer steps.

    Attributes:
        run: the run.
        timescale: 1 / (peak lr x weight decay), in steps.
        length: steps planned, else made.
        epochs: the time-scale in epochs, None when unknown.
        survival: share of the initial weights that decay leaves at the end, None when unknown.
    """

    run: Run
    timescale: float
    length: float
    epochs: float | None
    survival: float | None

    @property
    def words(self) -> str:
        """The comparison in one sentence."""
        epochs = f" ({number(self.epochs)} epochs)" if self.epochs is not None else ""
        words = f"{self.run.arm_label}: time-scale {count(round(self.timescale))} steps{epochs}, "
        words += f"run {count(round(self.length))} steps"
        if self.survival is None:
            return words
        verdict = ", so it has hardly any time to act" if self.survival > 0.9 else ""
        return f"{words}; in all, decay takes {share(1 - self.survival)} off the initial weights{verdict}"


def span_of(run: Run) -> Span | None:
    """The run's time-scale and length from its meta; None when it has no decoupled decay or did not say."""
    entry = run.meta.get("timescale")
    if not isinstance(entry, dict):
        return None
    timescale = _positive(entry.get("steps"))
    length = _positive(run.meta.get("total_steps")) or float(run.steps)
    if timescale is None or length <= 0:
        return None
    return Span(run, timescale, length, _positive(entry.get("epochs")), _positive(entry.get("survival")))


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
    dots: Json = {"symbol": "circle", "size": 11, "color": [series(s.run.arm) for s in spans]}
    bars: Json = {"symbol": "line-ns", "size": 18, "line": {"color": "@ink", "width": 3}}
    lengths, scales = [s.length for s in spans], [s.timescale for s in spans]
    traces = [_marks("run length", lengths, rows, dots), _marks("time-scale", scales, rows, bars)]
    rows_axis: Json = {"type": "category", "automargin": True, "ticksuffix": "  ", "showgrid": False}
    rows_axis["range"] = [len(rows) - 0.4, -0.6]
    steps = log_axis("optimizer steps (log scale)", [*lengths, *scales], showgrid=True)
    layout: Json = {"xaxis": steps, "yaxis": rows_axis, "margin": {"l": 10, "r": 14, "t": 10, "b": 46}}
    summary = ". ".join(s.words for s in spans) + "."
    title, height = "Decay's time-scale beside the run's length", 90 + 40 * len(rows)
    return Chart("timescale", title, summary, traces, layout, height, ("timescale",))


def _marks(name: str, values: list[float], rows: list[str], marker: Json) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": finites(values),
        "y": rows,
        "marker": marker,
        "hovertemplate": f"%{{y}}<br>{name}: %{{x:.4g}} steps<extra></extra>",
    }
