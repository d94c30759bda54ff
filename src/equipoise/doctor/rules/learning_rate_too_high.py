"""The learning rate is too high: the loss rises above where it began, keeps spiking, or a step rewrites the weights.

Source: loss above its initial value and repeated spikes: robust z > 6 and a jump > 0.1 (heuristic). Update ratio: >
1e-2 sustained is the folk limit (CS231n notes, from memory), but small healthy runs pass it: in runs of a 3-block GPT
the median ratio sat at 0.8e-2 at lr 1e-3 and 3e-2 at lr 0.3. So the ratio alone counts only from 0.3, a third of the
weight rewritten in one step (heuristic, calibrated there: 0.05 at lr 1e-3, 0.15 at 3e-3, 1.5 at 3e-2, where the loss
jumped by 28 %).
Rule: (a) loss > initial + max(0.1, 10 %, 6 x its noise from record to record) in 3 of 5 records; (b) 3 spikes of two
records or more after warm-up; (c) median over hidden matrices of update_ratio >= 0.3 at any sample.
"""

import math
import statistics
from itertools import pairwise

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy, Severity
from equipoise.doctor.persistence import held_at, holds_at_end, robust_z
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short

RISE_SHARE, RISE, NOISE = 0.10, 0.1, 6.0
SPIKE_Z, SPIKE_RISE, SPIKES, WINDOW = 6.0, 0.1, 3, 200
HUGE_RATIO = 0.3
GOOD_RATIO = 0.05  # a first update of 5 % of the weights trained well in the calibration runs


@method(kind="rule", scope="run")
def learning_rate_too_high(run: RunFacts) -> list[Finding]:
    """Error when the loss ends above its start, warning when the run was unstable on the way."""
    ratios = _median_ratios(run)
    steps, losses = run.find("loss")
    if not losses and not ratios:
        raise CannotTellError("no loss and no update_ratio were recorded: call w.log(loss=...) under equipoise.watch")
    above = _above_start(steps, losses)
    evidence = [e for e in (above, _spikes(run, steps, losses), _huge(ratios)) if e is not None]
    if not evidence:
        return []
    diverged = above is not None and holds_at_end(_risen(losses))
    severity: Severity = "error" if diverged else "warning"
    symptom = "Training diverged: the loss ended above where it began." if diverged else "Training is unstable."
    cause = "Steps are longer than the curvature allows, so they overshoot; adaptive methods then shrink their own "
    cause += "effective "
    cause += "step by growing weights and second moments, which hides the damage without undoing it."
    return [
        Finding(
            "learning_rate_too_high",
            severity,
            symptom,
            tuple(evidence),
            cause,
            _remedy(run, ratios),
            "spike and ratio thresholds: heuristic, calibrated on small GPT runs; loss above start: by definition",
            step=min(e.step for e in evidence if e.step is not None),
        )
    ]


def _risen(losses: list[float]) -> list[bool]:
    if not losses:
        return []
    limit = losses[0] + max(RISE, RISE_SHARE * abs(losses[0]), NOISE * _noise(losses))
    return [not loss <= limit for loss in losses]


def _noise(losses: list[float]) -> float:
    """Spread of the loss from record to record, whatever its trend: small batches are noisy, not unstable."""
    steps = [b - a for a, b in pairwise(losses) if math.isfinite(b - a)]
    if len(steps) < 10:
        return 0.0
    middle = statistics.median(steps)
    return 1.4826 * statistics.median(abs(s - middle) for s in steps) / math.sqrt(2)


def _above_start(steps: list[int], losses: list[float]) -> Evidence | None:
    at = held_at(_risen(losses))
    if at is None:
        return None
    text = f"loss {short(losses[at])} at step {steps[at]}, above its initial {short(losses[0])} in 3 of 5 records"
    return Evidence(text, "loss", "", losses[at], steps[at])


def _spikes(run: RunFacts, steps: list[int], losses: list[float]) -> Evidence | None:
    after = run.warmup_end()
    out = [step > after and _is_out(losses, i) for i, step in enumerate(steps)]
    # A spike lasts: one record alone may be an odd batch.
    starts = [i for i in range(1, len(out)) if out[i] and out[i - 1] and not (i > 1 and out[i - 2])]
    found = [(steps[i - 1], losses[i - 1]) for i in starts]
    if len(found) < SPIKES:
        return None
    step, loss = found[0]
    text = f"{len(found)} loss spikes (robust z > 6), the first to {short(loss)} at step {step}"
    return Evidence(text, "loss", "", loss, step)


def _is_out(losses: list[float], i: int) -> bool:
    window = losses[max(0, i - WINDOW) : i]
    return i > 0 and losses[i] - statistics.median(window) > SPIKE_RISE and robust_z(losses[i], window) > SPIKE_Z


def _median_ratios(run: RunFacts) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for name in run.hidden():
        for step, value in zip(*run.find("update_ratio", name), strict=True):
            if math.isfinite(value):
                found.setdefault(step, []).append(value)
    return {step: statistics.median(values) for step, values in sorted(found.items())}


def _huge(ratios: dict[int, float]) -> Evidence | None:
    step = max(ratios, key=ratios.__getitem__, default=None)
    if step is None or ratios[step] < HUGE_RATIO:
        return None
    text = f"the step {step} rewrote {100 * ratios[step]:.0f} % of the weights (median over hidden matrices)"
    return Evidence(text, "update_ratio", "", ratios[step], step)


def _remedy(run: RunFacts, ratios: dict[int, float]) -> Remedy:
    lr = max((g.peak_lr for g in run.groups), default=0.0)
    new = lr * min(0.3, GOOD_RATIO / max(ratios.values(), default=GOOD_RATIO))
    digits = float(f"{new:.2g}")
    text = (
        f"Lower lr from {short(lr)} to {short(digits)}: the largest update is then about 5 % of the weights or less. "
    )
    text += "A warm-up of the first 5 % of the steps lets a higher peak through."
    name = run.optimizer or "AdamW"
    return Remedy(text, code=run.code(name, lr=digits) if run.groups else "", recipe_fields={"lr": digits})
