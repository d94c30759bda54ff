"""Units of an activation have gone silent.

Source: Sokar et al., arXiv 2302.12902 (score and its threshold 0.025); the 30 % band is heuristic.
Rule: dead_units > 0.30 of a layer in the last 2 of 3 samples, and more than at the start of the run.
"""

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.persistence import holds_at_end
from equipoise.doctor.run_facts import RunFacts, short

BAD = 0.30
GROWN = 0.05
CURE = "give equipoise.watch a probe batch, inputs=..., of a model with ReLU-like activations"


@method(kind="rule", paper="2302.12902", scope="layer", see_also=("dead_units",))
def dying_units(run: RunFacts) -> list[Finding]:
    """Warning that names the layers."""
    table = run.table("dead_units", CURE)
    guilty = {
        name: (steps, shares)
        for name, (steps, shares) in table.items()
        if holds_at_end([s > BAD for s in shares], k=2, n=3) and shares[-1] > shares[0] + GROWN
    }
    if not guilty:
        return []
    evidence = tuple(
        Evidence(
            f"{name}: {100 * shares[-1]:.0f} % dormant at step {steps[-1]}, {100 * shares[0]:.0f} % at step {steps[0]}",
            "dead_units",
            name,
            shares[-1],
            steps[-1],
        )
        for name, (steps, shares) in list(guilty.items())[:6]
    )
    lr = max((g.peak_lr for g in run.groups), default=0.0)
    text = f"Lower lr from {short(lr)} to {short(lr / 3)}, put a LayerNorm before the activation, or use GELU, whose "
    text += "negative "
    text += "side has a gradient. Units that are dead already come back only when they are reset."
    steps, shares = next(iter(guilty.values()))
    first = next(step for step, share in zip(steps, shares, strict=True) if share > BAD)
    return [
        Finding(
            "dying_units",
            "warning",
            f"Over 30 % of the units are dormant in {len(guilty)} of {len(table)} activations.",
            evidence,
            "Large steps pushed weights or biases to where the unit is off for every input; with no gradient it stays "
            "there.",
            Remedy(text, code="torch.nn.GELU()  # in place of torch.nn.ReLU()", recipe_fields={"lr": lr / 3}),
            "arXiv 2302.12902 for the score; the 30 % band is heuristic",
            tuple(guilty),
            first,
        )
    ]
