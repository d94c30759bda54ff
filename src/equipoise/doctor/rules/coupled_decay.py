"""Weight decay goes through Adam's denominator (L2 in the gradient) instead of shrinking the weights.

Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101; arXiv 2305.17212 (unbalanced
rotation).
Rule: an Adam-type group with coupled weight_decay > 0. Information only when the run shows that its share of the
gradient stays below 1 % in every matrix (heuristic), a warning otherwise.
"""

import statistics

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy, Severity
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short

HARMLESS = 0.01


@method(kind="rule", paper="1711.05101", scope="run", see_also=("decay_share",))
def coupled_decay(run: RunFacts) -> list[Finding]:
    """Warning with the AdamW line at the same values."""
    if not run.groups:
        raise CannotTellError("the optimizer is not known")
    guilty = [i for i, g in enumerate(run.groups) if g.family == "adam" and g.decay == "coupled"]
    if not guilty:
        return []
    facts = run.groups[guilty[0]]
    evidence = [Evidence(f"{run.optimizer}(weight_decay={short(facts.weight_decay)}): decay is added to the gradient")]
    measured = _largest_share(run, guilty)
    severity: Severity = "warning"
    if measured is not None:
        evidence += [measured, _typical_share(run, guilty)]
        severity = "info" if (measured.value or 0.0) < HARMLESS else "warning"
    text = f"Take the decay out of the gradient: AdamW with the same lr={short(facts.peak_lr)} and "
    text += f"weight_decay={short(facts.weight_decay)}. Its decay then shrinks weights by {short(facts.peak_lr)} x "
    text += (
        f"{short(facts.weight_decay)} = {short(facts.peak_lr * facts.weight_decay)} per step, whatever their gradients."
    )
    cause = "Adam divides the L2 term by sqrt(v) like any gradient: weights with small gradients are pulled to zero "
    cause += "at the full "
    cause += "learning rate, weights with large ones hardly at all, and the term drowns the gradient in the momentum."
    return [
        Finding(
            "coupled_decay",
            severity,
            "Weight decay is coupled into an adaptive gradient.",
            tuple(evidence),
            cause,
            Remedy(text, code=run.code("AdamW", guilty[0]), recipe_fields={"optimizer": "adamw"}),
            "arXiv 1711.05101; arXiv 2305.17212 table 1",
            tuple(p.name for i in guilty for p in run.members(i) if p.is_matrix),
        )
    ]


def _typical_share(run: RunFacts, groups: list[int]) -> Evidence:
    names = [p.name for i in groups for p in run.members(i) if p.is_matrix]
    shares = [values[-1] for values in (run.find("decay_share", name)[1] for name in names) if values]
    middle = statistics.median(shares)
    return Evidence(f"in the median matrix it is {100 * middle:.0f} % at the last sample", "decay_share", "", middle)


def _largest_share(run: RunFacts, groups: list[int]) -> Evidence | None:
    found: list[tuple[float, int, str]] = []
    for i in groups:
        for p in run.members(i):
            if p.is_matrix:
                found.extend((v, s, p.name) for s, v in zip(*run.find("decay_share", p.name), strict=True))
    if not found:
        return None
    share, step, name = max(found)
    text = f"at step {step} the L2 term is {100 * share:.0f} % of what Adam normalises in {name}"
    return Evidence(text, "decay_share", name, share, step)
