"""Measured and predicted numbers of a run, tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from equipoise.report.numbers import number, plural, share
from equipoise.report.runs import Run
from equipoise.report.thin import Series

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
    """One tensor's numbers.

    Attributes:
        tensor: its name.
        first, last: measured, median of the first and of the last tenth of the samples.
        predicted: what theory says for the last samples, median of their tenth.
        equilibrium: where theory says it settles, NaN when it does not or was not said.
        invariant: whether the run's test found it scale-invariant, None when not tested.
    """

    tensor: str
    first: float
    last: float
    predicted: float
    equilibrium: float
    invariant: bool | None


def matches(run: Run, quantity: Quantity) -> list[Match]:
    """Every tensor that is measured and predicted up to its end, both positive and finite, in model order."""
    measured, predicted = run.table(quantity.metric), run.table(quantity.predicted)
    both = [t for t in measured if t in predicted and not _stops_early(measured[t], predicted[t])]
    found = [_match(run, quantity, t, measured[t], predicted[t]) for t in both]
    return [m for m in found if all(math.isfinite(v) and v > 0 for v in (m.first, m.last, m.predicted))]


def outgrown(run: Run, quantity: Quantity) -> dict[str, int]:
    """Tensors to which the law stopped applying within the run -> last step of their prediction."""
    measured, predicted = run.table(quantity.metric), run.table(quantity.predicted)
    both = [t for t in measured if t in predicted]
    return {t: predicted[t][0][-1] for t in both if predicted[t][0] and _stops_early(measured[t], predicted[t])}


def _stops_early(measured: Series, predicted: Series) -> bool:
    """The watch predicts as long as the law holds; its last word may belong to an earlier step."""
    return bool(measured[0] and predicted[0]) and predicted[0][-1] < 0.9 * measured[0][-1]


def _match(run: Run, quantity: Quantity, tensor: str, measured: Series, predicted: Series) -> Match:
    first, last, goal = _tenth(measured[1], end=False), _tenth(measured[1], end=True), _tenth(predicted[1], end=True)
    settled = _said(run, tensor).get(quantity.metric)
    equilibrium = float(settled) if isinstance(settled, int | float) and settled > 0 else math.nan
    return Match(tensor, first, last, goal, equilibrium, scale_invariant(run, tensor))


def _tenth(values: list[float], *, end: bool) -> float:
    """Median of the last (or first) tenth of the finite values; NaN without any."""
    numbers = [v for v in values if math.isfinite(v)]
    count = max(1, len(numbers) // 10)
    return median(numbers[-count:] if end else numbers[:count]) if numbers else math.nan


def _said(run: Run, tensor: str) -> dict[str, object]:
    predictions = run.meta.get("predictions")
    entry = predictions.get(tensor) if isinstance(predictions, dict) else None
    return entry if isinstance(entry, dict) else {}


def scale_invariant(run: Run, tensor: str) -> bool | None:
    """Whether the run's own test found the tensor scale-invariant; None when it was not tested."""
    tested = run.meta.get("scale_invariant")
    value = _said(run, tensor).get("scale_invariant", tested.get(tensor) if isinstance(tested, dict) else None)
    return value if isinstance(value, bool) else None


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
