"""The page's first words: what was run, what was found, and whether the remedy helped, by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equipoise.report.comparison import Comparison, Pair
from equipoise.report.findings import Diagnoses, Told
from equipoise.report.numbers import count, fixed, listing, number, p_value, places_for, plural, share, signed
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
    interval = f"{signed(pair.low, places)} to {signed(pair.high, places)}"
    tested = f"{p_value(pair.p_value)}; {plural(pair.n, 'paired seed')}"
    statistics = f"difference {signed(pair.mean_difference, places)}, 95 % interval {interval}; {tested}"
    return f"{arm} against {base}: {verb} ({statistics}). {_means(pair, comparison)}"


def _means(pair: Pair, comparison: Comparison) -> str:
    arm, base = comparison.arm(pair.arm), comparison.arm(pair.baseline)
    if arm is None or base is None or math.isnan(arm.mean) or math.isnan(base.mean):
        return ""
    change = (
        f", {share(abs(arm.mean / base.mean - 1))} {'less' if arm.mean < base.mean else 'more'}" if base.mean else ""
    )
    return f"Means {number(base.mean, 4)} → {number(arm.mean, 4)}{change}."


def _figure(pair: Pair, comparison: Comparison) -> tuple[str, str]:
    places = places_for(pair.high - pair.mean_difference)
    low, high = signed(pair.low, places), signed(pair.high, places)
    words = f"{metric_words(comparison.metric)}, 95 % interval {low} to {high}, {p_value(pair.p_value)}"
    return signed(pair.mean_difference, places), words


def _findings_headline(runs: Sequence[Run], diagnoses: Diagnoses) -> str:
    what = runs[0].label if len(runs) == 1 else plural(len(runs), "run")
    grave = [t for t in diagnoses.told if t.finding.severity != "info"]
    if grave:
        return f"{_counts(diagnoses)} in {what}"
    if diagnoses.failed:
        return f"{what}: not every run could be diagnosed"
    return f"No fault found in {what}"


def _counts(diagnoses: Diagnoses) -> str:
    words = [plural(n, kind) for kind in ("error", "warning") if (n := diagnoses.count(kind))]
    return listing(words)


def _ran(runs: Sequence[Run], comparison: Comparison | None) -> str:
    arms = list(dict.fromkeys(run.arm_label for run in runs))
    steps = sorted({run.steps for run in runs})
    length = f"{count(steps[0])} steps" if len(steps) == 1 else f"{count(steps[0])} to {count(steps[-1])} steps"
    if comparison is None:
        return f"{plural(len(runs), 'run')} of {length}: {listing(arms)}."
    seeds = f"{plural(len(comparison.seeds), 'seed')} each ({listing([str(s) for s in comparison.seeds])})"
    labels = listing([a.label for a in comparison.arms])
    words = f"{labels}: {seeds}, same data order, {_budget(comparison.budget) or length}."
    return f"{words} {comparison.note}".strip()


def _budget(budget: Mapping[str, object]) -> str:
    return listing([f"{value} {key}" for key, value in budget.items() if value not in (None, "", 0)])


def _found(diagnoses: Diagnoses) -> tuple[str, ...]:
    """Errors and warnings, worst first; then how many remarks there are."""
    grave = [t for t in diagnoses.told if t.finding.severity != "info"]
    remarks = diagnoses.count("info")
    words = [_told(t) for t in grave]
    if not grave and not diagnoses.failed:
        words.append("The doctor found no fault.")
    if remarks:
        words.append(f"{plural(remarks, 'remark')} for information.")
    return tuple(words)


def _told(told: Told) -> str:
    return f"{told.finding.severity.capitalize()} in {told.where}: {told.finding.symptom}"
