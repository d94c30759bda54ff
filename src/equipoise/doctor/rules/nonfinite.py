"""Loss or weights are no longer finite.

Source: numerics come before everything else; there is no threshold.
Rule: the first logged loss, or the first weight norm, that is nan or infinite.
"""

import math

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short


@method(kind="rule", scope="run")
def nonfinite(run: RunFacts) -> list[Finding]:
    """Error at the first value that is not finite."""
    evidence = [e for e in (_first(run, "loss"), _first_weight(run)) if e is not None]
    if not evidence:
        if not run.find("loss")[0] and not run.find("weight_norm", next(iter(run.parameters), ""))[0]:
            raise CannotTellError("nothing was recorded: train under equipoise.watch and call w.log(loss=...)")
        return []
    first = min(evidence, key=lambda e: e.step or 0)
    lr = max((g.peak_lr for g in run.groups), default=0.0)
    remedy = Remedy(
        f"Go back to a checkpoint before step {first.step}, lower lr from {short(lr)} to {short(lr / 10)} and clip the "
        "gradient; in half precision run the operation that overflows in fp32.",
        code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # before optimizer.step()",
        recipe_fields={"lr": lr / 10},
    )
    return [
        Finding(
            "nonfinite",
            "error",
            f"{first.metric.replace('_', ' ')} is no longer finite from step {first.step} on.",
            tuple(evidence),
            "An overflow in the forward or backward pass; every later step carries it on.",
            remedy,
            "numerics: no threshold",
            tuple(e.tensor for e in evidence if e.tensor),
            first.step,
        )
    ]


def _first(run: RunFacts, metric: str, tensor: str = "") -> Evidence | None:
    for step, value in zip(*run.find(metric, tensor), strict=True):
        if not math.isfinite(value):
            where = f" of {tensor}" if tensor else ""
            return Evidence(f"{metric}{where} is {value} at step {step}", metric, tensor, value, step)
    return None


def _first_weight(run: RunFacts) -> Evidence | None:
    found = [e for e in (_first(run, "weight_norm", name) for name in run.parameters) if e is not None]
    return min(found, key=lambda e: e.step or 0, default=None)
