"""Weight decay cannot act within the run: its time-scale is far longer than the run.

Source: Wang, Aitchison, arXiv 2405.13698 (time-scale); the horizon limit 0.3 is heuristic.
Rule: horizon h = sum over the run of the share by which decay shrinks the weights per step; h < 0.3, so that the
initial weights survive with exp(-h) > 74 %. Decoupled decay, and SGD's coupled one. Always information: such a decay
does no harm.
"""

import math

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short

MIN_HORIZON = 0.3


@method(kind="rule", paper="2405.13698", scope="run", see_also=("timescale",))
def decay_cannot_act(run: RunFacts) -> list[Finding]:
    """Information with the decay that would act over the length of the run."""
    rates = {
        i: g.decay_rate(g.peak_lr) for i, g in enumerate(run.groups) if g.decay != "none" and g.law != "normalized"
    }
    known = {i: rate for i, rate in rates.items() if rate}
    if not known:
        raise CannotTellError("no weight decay that acts at a known rate")
    steps = run.planned_steps
    if steps is None:
        raise CannotTellError("the length of the run is not known: pass total_steps=")
    strongest = max(known, key=known.__getitem__)
    horizon = horizon_of(run, known[strongest], steps)
    if horizon >= MIN_HORIZON:
        return []
    facts, tau = run.groups[strongest], 1 / known[strongest]
    epochs = f" ({short(tau / run.steps_per_epoch)} epochs)" if run.steps_per_epoch else ""
    evidence = (
        Evidence(f"averaging time-scale {tau:.0f} steps{epochs} against a run of {steps} steps", value=tau),
        Evidence(
            f"over the whole run decay alone shrinks a weight by {100 * -math.expm1(-horizon):.2g} %", value=horizon
        ),
    )
    new = float(f"{facts.weight_decay / horizon:.2g}")
    text = "Nothing is wrong: expect the same result with weight_decay=0. If decay should act, "
    text += f"weight_decay={short(new)} makes "
    text += f"its time-scale the length of this run, or train {short(MIN_HORIZON / horizon)} times as long or longer."
    return [
        Finding(
            "decay_cannot_act",
            "info",
            f"weight_decay={short(facts.weight_decay)} has no time to act in this run.",
            evidence,
            "Decoupled decay averages the updates over 1 / (lr * weight_decay) steps; the run ends long before that.",
            Remedy(
                text, code=run.code(run.optimizer, strongest, weight_decay=new), recipe_fields={"weight_decay": new}
            ),
            "arXiv 2405.13698; the limit of 0.3 on the horizon is heuristic",
        )
    ]


def horizon_of(run: RunFacts, rate: float, steps: int) -> float:
    """Sum of decay rates over the run: as measured when it is over, else at the peak learning rate throughout."""
    done, measured = run.meta.get("last_step"), run.meta.get("horizon_so_far")
    if isinstance(done, int) and isinstance(measured, float) and measured > 0 and done >= steps:
        return measured
    return rate * steps
