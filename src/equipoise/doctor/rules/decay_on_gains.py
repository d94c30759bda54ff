"""Weight decay is applied to gains and biases.

Source: common practice since GPT-2 (nanoGPT groups by ndim >= 2); arXiv 2510.15262 sets the decay of vectors to 0.
Rule: a parameter with at most one axis in a group with weight_decay > 0. A warning when that decay can act in the run,
else information (same limit on the horizon as `decay_cannot_act`).
"""

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy, Severity
from equipoise.doctor.rules.decay_cannot_act import MIN_HORIZON, horizon_of
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short


@method(kind="rule", paper="2510.15262", scope="run")
def decay_on_gains(run: RunFacts) -> list[Finding]:
    """Warning or information, with the grouping that spares them."""
    if not run.parameters:
        raise CannotTellError("the parameters are not known")
    decayed = {i for i, g in enumerate(run.groups) if g.decay != "none"}
    guilty = [p for p in run.parameters.values() if p.group in decayed and not p.is_matrix]
    if not guilty:
        return []
    facts = run.groups[guilty[0].group]
    by_owner: dict[str, int] = {}
    for p in guilty:
        by_owner[p.owner or "other"] = by_owner.get(p.owner or "other", 0) + 1
    owners = ", ".join(f"{count} of {owner}" for owner, count in by_owner.items())
    severity: Severity = "warning" if _can_act(run, guilty[0].group) else "info"
    evidence = Evidence(f"{len(guilty)} gains and biases ({owners}) decay with {short(facts.weight_decay)}")
    text = "Give gains and biases a group of their own with weight_decay=0; equipoise's optimizers do so when they "
    text += "get the "
    text += "model. Exception: gains are decayed on purpose to keep outliers down."
    wd = short(facts.weight_decay)
    code = f"{run.code(run.optimizer, guilty[0].group).split('(')[0]}([{{'params': [p for p in model.parameters() if "
    code += f"p.ndim > 1], 'weight_decay': {wd}}}, {{'params': [p for p in model.parameters() if p.ndim <= 1], "
    code += f"'weight_decay': 0.0}}], lr={short(facts.peak_lr)})"
    return [
        Finding(
            "decay_on_gains",
            severity,
            "Norm gains and biases are decayed like weights."
            + ("" if severity == "warning" else " It has no time to act."),
            (evidence,),
            "A gain carries the scale of its layer and no direction: decay shrinks the function itself instead of "
            "averaging it.",
            Remedy(text, code),
            "convention since GPT-2; arXiv 2510.15262",
            tuple(p.name for p in guilty),
        )
    ]


def _can_act(run: RunFacts, group: int) -> bool:
    facts, steps = run.groups[group], run.planned_steps
    rate = facts.decay_rate(facts.peak_lr)
    if rate is None or steps is None:
        return True
    return horizon_of(run, rate, steps) >= MIN_HORIZON
