"""The page's first words: what was run, what was found, and whether the remedy helped, by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from equipoise.report.comparison import Comparison, Pair
from equipoise.report.findings import Diagnoses, Told
from equipoise.report.numbers import count, fixed, interval, listing, p_value, places_for, plural, share, signed
from equipoise.report.runs import Run


@dataclass(frozen=True)
class Verdict:
    """The headline, the sentences under it, and the one number to remember ("" without a comparison)."""

    headline: str
    ran: str
    found: tuple[str, ...]
    helped: tuple[str, ...]
    figure: str
    figure_words: str


def verdict(runs: Sequence[Run], diagnoses: Diagnoses, comparison: Comparison | None) -> Verdict:
    """The verdict on these runs."""
    best = _headline_pair(comparison) if comparison else None
    helped = tuple(pair_sentence(p, comparison) for p in comparison.paired) if comparison else ()
    headline = _effect_headline(best, comparison) if best and comparison else _findings_headline(runs, diagnoses)
    figure, words = _figure(best, comparison) if best and comparison else ("", "")
    return Verdict(headline, _ran(runs, comparison), _found(diagnoses), helped, figure, words)


def _headline_pair(comparison: Comparison) -> Pair | None:
    """The first pair, unless another gained more than the first pair's interval allows for it.

    A plain minimum would let noise choose the headline among arms that are alike.
    """
    if not comparison.paired:
        return None
    first = comparison.paired[0]
    best = min(comparison.paired, key=lambda p: math.inf if math.isnan(p.mean_difference) else p.mean_difference)
    return first if math.isfinite(first.low) and best.mean_difference >= first.low else best


def shown_direction(pair: Pair) -> int:
    """-1: lower beyond the interval, +1: higher beyond it, 0: the interval holds zero or is missing."""
    if any(math.isnan(v) for v in (pair.low, pair.high)):
        return 0
    return -1 if pair.high < 0 else int(pair.low > 0)


def _effect_headline(pair: Pair, comparison: Comparison) -> str:
    arm, base = comparison.label_of(pair.arm), comparison.label_of(pair.baseline)
    direction = shown_direction(pair)
    if direction == 0:
        return f"No difference shown between {arm} and {base}"
    size = fixed(abs(pair.mean_difference), places_for(pair.high - pair.mean_difference))
    verb = "lowers" if direction < 0 else "raises"
    return f"{arm} {verb} {metric_words(comparison.metric)} by {size} against {base}"


def metric_words(metric: str) -> str:
    """A metric's name in prose."""
    return {"val_loss": "validation loss", "loss": "training loss"}.get(metric, metric.replace("_", " "))


def pair_sentence(pair: Pair, comparison: Comparison) -> str:
    """One paired difference in a sentence, with interval, p-value, number of pairs and both means."""
    arm, base = comparison.label_of(pair.arm), comparison.label_of(pair.baseline)
    if math.isnan(pair.mean_difference):
        return f"{arm} against {base}: no difference can be given, not every seed has a finite value in both."
    places = places_for(pair.high - pair.mean_difference)
    size = fixed(abs(pair.mean_difference), places)
    verb = {-1: f"lower by {size}", 0: "not shown to differ", 1: f"higher by {size}"}[shown_direction(pair)]
    ends = interval(pair.low, pair.high, places, sign=True)
    tested = f"{p_value(pair.p_value)}; {plural(pair.n, 'paired seed')}"
    statistics = f"difference {signed(pair.mean_difference, places)}, 95 % interval {ends}; {tested}"
    return f"{arm} against {base}: {verb} ({statistics}). {_means(pair, comparison)}"


def _means(pair: Pair, comparison: Comparison) -> str:
    arm, base = comparison.arm(pair.arm), comparison.arm(pair.baseline)
    if arm is None or base is None or math.isnan(arm.mean) or math.isnan(base.mean):
        return ""
    change = (
        f", {share(abs(arm.mean / base.mean - 1))} {'less' if arm.mean < base.mean else 'more'}" if base.mean else ""
    )
    means = f"{fixed(base.mean, comparison.places)} → {fixed(arm.mean, comparison.places)}"
    return f"Means {means}{change}."


def _figure(pair: Pair, comparison: Comparison) -> tuple[str, str]:
    places = places_for(pair.high - pair.mean_difference)
    ends = interval(pair.low, pair.high, places, sign=True)
    words = f"{metric_words(comparison.metric)}, 95 % interval {ends}, {p_value(pair.p_value)}"
    return signed(pair.mean_difference, places), words


def _findings_headline(runs: Sequence[Run], diagnoses: Diagnoses) -> str:
    what = runs[0].label if len(runs) == 1 else plural(len(runs), "run")
    grave = [t for t in diagnoses.told if t.finding.severity != "info"]
    if grave:
        return _worst(grave, told_where=len(runs) > 1)
    if diagnoses.failed:
        return f"{what}: not every run could be diagnosed"
    return f"No fault found in {what}"


def _worst(grave: Sequence[Told], *, told_where: bool) -> str:
    """The worst symptom, and how many more errors and warnings there are."""
    first, more = grave[0], [t.finding.severity for t in grave[1:]]
    counts = [plural(n, f"more {kind}") for kind in ("error", "warning") if (n := more.count(kind))]
    where = f"{first.where}: " if told_where else ""
    return f"{where}{listing([first.finding.symptom.rstrip('.'), *counts])}"


def _ran(runs: Sequence[Run], comparison: Comparison | None) -> str:
    steps = sorted({run.steps for run in runs})
    length = f"{count(steps[0])} steps" if len(steps) == 1 else f"{count(steps[0])} to {count(steps[-1])} steps"
    subjects = list(dict.fromkeys(filter(None, map(subject, runs))))
    of = f" {listing(subjects)}." if subjects else ""
    if comparison is None:
        arms = list(dict.fromkeys(run.arm_label for run in runs))
        return f"{plural(len(runs), 'run')} of {length}: {listing(arms)}.{of}"
    seeds = f"{plural(len(comparison.seeds), 'seed')} each ({listing([str(s) for s in comparison.seeds])})"
    labels = listing([f"“{a.label}”" for a in comparison.arms])
    return f"{labels}: {seeds}, {_budget(comparison.budget) or length}.{of}"


def subject(run: Run) -> str:
    """What was trained, on what, as far as the run's facts tell: `GPT with 870 400 parameters on python`."""
    recipe, model = run.meta.get("recipe"), run.meta.get("model")
    name = _named(model)
    if isinstance(model, Mapping) and isinstance(model.get("parameters"), int):
        name += f" with {count(cast(int, model['parameters']))} parameters"
    data = _named(recipe.get("data") if isinstance(recipe, Mapping) else run.meta.get("data"))
    return f"{name} on {data}" if name and data else name or data


def _named(value: object) -> str:
    if isinstance(value, Mapping):
        return next((str(value[k]) for k in ("source", "name", "kind") if value.get(k)), "")
    return value if isinstance(value, str) else ""


def _budget(budget: Mapping[str, object]) -> str:
    """`300 steps, batch size 16`; the data are told with the model."""
    words = [f"{budget[k]} {k}" for k in ("steps", "seconds") if budget.get(k)]
    words += [f"{k.replace('_', ' ')} {v}" for k, v in budget.items() if v and k not in ("steps", "seconds", "data")]
    return ", ".join(words)


def _found(diagnoses: Diagnoses) -> tuple[str, ...]:
    """Errors and warnings, worst first; then how many remarks there are."""
    grave = [t for t in diagnoses.told if t.finding.severity != "info"]
    remarks = diagnoses.count("info")
    words = [_told(t) for t in grave]
    if not grave and not diagnoses.failed:
        words.append("The doctor found no fault.")
    if diagnoses.failed:
        words.append(f"{plural(len(diagnoses.failed), 'run')} could not be diagnosed; why stands under Findings.")
    if remarks:
        words.append(f"{plural(remarks, 'remark')} for information.")
    return tuple(words)


def _told(told: Told) -> str:
    return f"{told.finding.severity.capitalize()} in {told.where}: {told.finding.symptom}"
