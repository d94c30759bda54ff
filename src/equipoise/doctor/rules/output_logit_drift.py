"""Output logits drift: the shift that softmax cannot see keeps growing.

Source: Wortsman et al., arXiv 2309.14322 section 3.2 (z-loss with 1e-4, or weight decay, cures it); ln V + 10 is
heuristic.
Rule: |log_partition| > ln V + 10 in the last 2 of 3 samples, larger than at the start of the run.
"""

import math

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.persistence import holds_at_end
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short

MARGIN = 10.0
Z_LOSS = 1e-4
CURE = "give equipoise.watch a probe batch, inputs=..., of a model whose output is logits [..., V]"


@method(kind="rule", paper="2309.14322", scope="run", see_also=("log_partition",))
def output_logit_drift(run: RunFacts) -> list[Finding]:
    """Warning when the log partition is out of range and has grown."""
    steps, values = run.series("log_partition", CURE)
    if not run.vocabulary:
        raise CannotTellError("the number of classes is not known: " + CURE)
    limit = math.log(run.vocabulary) + MARGIN
    flags = [abs(v) > limit for v in values]
    if not holds_at_end(flags, k=2, n=3) or abs(values[-1]) <= abs(values[0]):
        return []
    first = steps[flags.index(True)]
    evidence = (
        Evidence(
            f"log partition {short(values[-1])} at step {steps[-1]}, from {short(values[0])} at step {steps[0]}; "
            f"beyond ln {run.vocabulary} + 10 = {short(limit)} since step {first}",
            "log_partition",
            "",
            values[-1],
            steps[-1],
        ),
    )
    text = (
        f"Add the z-loss {Z_LOSS:g} * (log partition)^2 to the loss; now it would add {Z_LOSS * values[-1] ** 2:.3f} "
    )
    text += "and pull all logits back together. A little weight decay on the output head does the same more slowly."
    code = f"loss = loss + {Z_LOSS:g} * logits.logsumexp(-1).square().mean()"
    return [
        Finding(
            "output_logit_drift",
            "warning",
            "The output logits drift away together.",
            evidence,
            "Cross entropy does not change when all logits shift, so nothing holds them; far out, precision and "
            "gradients go.",
            Remedy(text, code),
            "arXiv 2309.14322 section 3.2; the limit ln V + 10 is heuristic",
            step=first,
        )
    ]
