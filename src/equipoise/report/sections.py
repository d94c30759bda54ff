"""The sections of charts, in the order a reader wants them. Each says in a sentence what it could not show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from equipoise.report.chart import Chart, Group, Section
from equipoise.report.charts.curves import curve_chart
from equipoise.report.charts.heatmap import HeatSpec, heat_group, log2_to_first, log10, plain
from equipoise.report.charts.predicted import course_chart, settled_charts
from equipoise.report.charts.profile import profile_chart
from equipoise.report.charts.timescale import timescale_chart
from equipoise.report.escape import short
from equipoise.report.matching import ROTATION, WEIGHT_NORM, Quantity, chosen, matches, outgrown
from equipoise.report.numbers import listing, plural, share
from equipoise.report.runs import Run

NEGLIGIBLE = 0.01  # shares below this get a sentence, not a heat map of one colour
DETAILED = 4  # arms that get heat maps; more would bury the reader

_TENSORS = (
    HeatSpec(
        "weight_norm", "Weight norm", log2_to_first, "@diverging", "norm ÷ its first value", powers=2, fit="matrices"
    ),
    HeatSpec(
        "update_ratio",
        "Update ratio",
        log10,
        "@sequential",
        "rms(update) ÷ rms(weight)",
        powers=10,
    ),
    HeatSpec("grad_norm", "Gradient norm", log10, "@sequential", "gradient norm", powers=10),
    HeatSpec("decay_share", "Share of decay in the update", plain, "@sequential", "decay ÷ whole update"),
    HeatSpec("eps_underflow", "Adam's eps underflow", plain, "@sequential", "share of elements", span=(0, 1)),
)
_ATTENTION = (
    HeatSpec("attention_entropy", "Attention entropy", plain, "@sequential", "0 one token, 1 all alike", span=(0, 1)),
    HeatSpec("attention_max_logit", "Largest attention logit", plain, "@sequential", "logit"),
    HeatSpec("dead_units", "Dead units", plain, "@sequential", "share of units", span=(0, 1)),
)
_QUIET = {
    "eps_underflow": "of any tensor's elements had a second moment below eps at any sample",
    "dead_units": "of any layer's units were dead at any sample",
}
_LOG = "it is logged by the training loop: watch.log({0}=...)"
_INPUTS = "the watch needs inputs=, a probe batch, for it"
_BALANCE = (
    "Updates push the norm of a scale-invariant weight up, decay pulls it down, until both balance. Theory gives, in "
    "closed form, the norm and the rotation per step at that equilibrium, and the path there from the first measured "
    "norm. It holds for scale-invariant weights; rows marked * were tested and are not exactly so: there it is a guide."
)
_SETTLED_KEY = (
    "Circle: first samples. Dot: last samples. Bar: predicted for the last samples. Diamond: predicted equilibrium."
)
_ROWS = (
    "Rows are tensors in model order (“.weight” is left out of their names), columns are samples over time. "
    "Charts of one kind share their colour range."
)
_UNPREDICTED = "the optimizer has no decay, or is one for which there is no closed form"
_NEEDS = {
    "loss": _LOG.format("loss"),
    "val_loss": _LOG.format("val_loss"),
    "attention_entropy": f"the model has no attention the watch knows, or {_INPUTS}",
    "attention_max_logit": f"the model has no attention the watch knows, or {_INPUTS}",
    "stream_rms": f"the model has no residual blocks the watch knows, or {_INPUTS}",
    "dead_units": _INPUTS,
    "logit_max": _INPUTS,
    "logit_range": _INPUTS,
    "log_partition": _INPUTS,
    "eps_underflow": "only Adam and its kin have an eps",
    "decay_share": "no weight decay was found in the optimizer",
}


def detailed(runs: Sequence[Run]) -> list[Run]:
    """One run for each of the first arms: those whose tensors are drawn."""
    return [run for run in runs if run.first][:DETAILED]


def chart_sections(runs: Sequence[Run]) -> list[Section]:
    """All sections of charts for these runs."""
    shown = detailed(runs)
    makers: tuple[Callable[[], Section], ...] = (
        lambda: _curves(runs),
        lambda: _predictions(shown),
        lambda: _tensors(shown, runs),
        lambda: _layers(shown),
        lambda: _logits(shown),
    )
    return [make() for make in makers]


def _curves(runs: Sequence[Run]) -> Section:
    specs = (
        ("loss", "Training loss", "loss", None),
        ("val_loss", "Validation loss", "loss", None),
        ("lr", "Learning rate", "lr", False),
        ("grad_norm_total", "Gradient norm, all parameters", "norm", True),
    )
    made = {metric: curve_chart(runs, metric, title, unit, log=log) for metric, title, unit, log in specs}
    seeds = len(runs) > len({run.arm for run in runs})
    lead = (f"All {len(runs)} runs; those that differ only in their seed share a colour.",) if seeds else ()
    return Section("curves", "Curves", lead, _one(made.values()), _missing([m for m, c in made.items() if c is None]))


def _predictions(shown: Sequence[Run]) -> Section:
    groups, gaps = [], []
    for quantity in (WEIGHT_NORM, ROTATION):
        made = _settled(shown, quantity)
        groups += made
        gaps += _outgrown(shown, quantity)
        if not made:
            gaps.append(f"No prediction of {quantity.title.lower()} to show: {_UNPREDICTED}.")
    scale = timescale_chart(shown)
    if scale is None:
        gaps.append(
            "No decay time-scale: it exists for decoupled decay (AdamW, Lion) with weight_decay and lr above zero."
        )
    ordered = (
        *_one([scale], note="Dot: length of the run. Bar: time-scale of its decay, 1 / (lr × weight decay)."),
        *groups,
    )
    return Section("predicted", "Measured beside predicted", (_BALANCE,) if groups else (), ordered, tuple(gaps))


def _outgrown(shown: Sequence[Run], quantity: Quantity) -> list[str]:
    """A sentence for every run in which the law stopped applying to some tensors."""
    found = [(run, outgrown(run, quantity)) for run in shown]
    return [
        f"{quantity.title}, {run.arm_label}: {plural(len(ended), 'tensor')} left out ({_names(list(ended))}). "
        "The gradient ceased to be orthogonal to the weight within the run, so the law applies no longer."
        for run, ended in found
        if ended
    ]


def _names(tensors: list[str]) -> str:
    few = [short(t, 40) for t in tensors[:3]]
    return listing(few) if len(tensors) <= 3 else f"{', '.join(few)} ..."


def _settled(shown: Sequence[Run], quantity: Quantity) -> list[Group]:
    overview = tuple(settled_charts(shown, quantity))
    source = next((run for run in shown if matches(run, quantity)), None)
    names = chosen(source, quantity) if source else []
    courses = _present(course_chart(shown, quantity, name, i) for i, name in enumerate(names))
    groups = (
        Group(f"{quantity.title}, every tensor", overview, _SETTLED_KEY),
        Group(
            f"{quantity.title} over time",
            courses,
            "Solid: measured. Dashed: predicted.",
        ),
    )
    return [g for g in groups if g.charts]


def _tensors(shown: Sequence[Run], runs: Sequence[Run]) -> Section:
    groups, gaps = _heat(shown, _TENSORS)
    lead = [_ROWS]
    left = len({run.arm for run in runs}) - len(shown)
    if len(runs) > len(shown):
        lead.append(f"Shown: the first run of each arm ({listing([run.label for run in shown])}).")
    if left > 0:
        lead.append(f"{plural(left, 'more arm')} not drawn here; give fewer runs to see them.")
    return Section("tensors", "Every tensor over time", (" ".join(lead),) if groups else (), groups, gaps)


def _layers(shown: Sequence[Run]) -> Section:
    groups, gaps = _heat(shown, _ATTENTION)
    stream = profile_chart(shown, "stream_rms", "Residual stream by depth", "rms of activations")
    gaps = gaps if stream else (*gaps, *_missing(["stream_rms"]))
    return Section(
        "layers", "Layers", (), (*_one([stream], note="Dotted: first sample. Solid: last sample."), *groups), gaps
    )


def _logits(shown: Sequence[Run]) -> Section:
    specs = (
        ("logit_max", "Largest output logit", "logit"),
        ("logit_range", "Range of output logits", "largest − smallest"),
        ("log_partition", "Log-partition of the output", "log Σ exp(logit)"),
    )
    made = {metric: curve_chart(shown, metric, title, unit, log=False) for metric, title, unit in specs}
    return Section(
        "logits", "Output logits", (), _one(made.values()), _missing([m for m, c in made.items() if c is None])
    )


def _heat(shown: Sequence[Run], specs: Sequence[HeatSpec]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    groups: list[Group] = []
    missing: list[str] = []
    quiet: list[str] = []
    for spec in specs:
        largest = _largest(shown, spec.metric) if spec.metric in _QUIET else None
        if largest is not None and largest < NEGLIGIBLE:
            size = f"at most {share(largest)}" if largest else "none"
            quiet.append(f"{spec.title}: {size} {_QUIET[spec.metric]}, so no map of it.")
            continue
        group = heat_group(shown, spec)
        if group is None:
            missing.append(spec.metric)
        else:
            groups.append(group)
    return tuple(groups), (*quiet, *_missing(missing))


def _largest(shown: Sequence[Run], metric: str) -> float | None:
    """The largest finite value of a metric in any run, None when there is none."""
    tables = [run.table(metric) for run in shown]
    values = [v for table in tables for _, values in table.values() for v in values if math.isfinite(v)]
    return max(values, default=None)


def _present(charts: Iterable[Chart | None]) -> tuple[Chart, ...]:
    return tuple(c for c in charts if c is not None)


def _one(charts: Iterable[Chart | None], *, note: str = "") -> tuple[Group, ...]:
    """The charts that exist as one group without a heading; no group when none does."""
    present = _present(charts)
    return (Group("", present, note),) if present else ()


def _missing(metrics: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each reason, naming the metrics it keeps away."""
    by_reason: dict[str, list[str]] = {}
    for metric in metrics:
        by_reason.setdefault(_NEEDS.get(metric, "the watch did not record it"), []).append(metric.replace("_", " "))
    return tuple(f"Not recorded: {listing(names)}; {reason}." for reason, names in by_reason.items())
