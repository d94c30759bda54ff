"""A weight's norm grows without bound.

Source: arXiv 2305.17212 and 1706.05350: a scale-invariant weight without decay grows like sqrt(t) under Adam, t^(1/4)
under SGD, and its effective learning rate falls with it. For other weights the limits are heuristic.
Rule: (a) a scale-invariant weight without decay: |w|^2 (Adam, Lion) or |w|^4 (SGD) is straight in t with R^2 > 0.95 and
|w| grew by half; (b) any matrix: |w| grew threefold after the first tenth of the run, without slowing down in its last
quarter.
"""

import math

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.persistence import straightness
from equipoise.doctor.run_facts import RunFacts, short
from equipoise.doctor.store import Series
from equipoise.scaling.inversion import decay_for_rotation

STRAIGHT, GREW = 0.95, 1.5
TRIPLED, MIN_SAMPLES = 3.0, 8


@method(kind="rule", paper="2305.17212", scope="tensor", see_also=("weight_norm", "norm_path"))
def unbounded_norm(run: RunFacts) -> list[Finding]:
    """Warning with the decay that would hold the present rotation."""
    table = run.table("weight_norm", "train under equipoise.watch")
    invariant = {name for name, yes in (run.meta.get("scale_invariant") or {}).items() if yes}
    found: dict[str, str] = {}
    for name, curve in table.items():
        if name not in run.parameters or not run.parameters[name].is_matrix or not all(map(math.isfinite, curve[1])):
            continue
        if name in invariant and _undecayed(run, name) and _follows_law(run, name, curve):
            found[name] = "scale-invariant and not decayed: its effective learning rate falls as it grows"
        elif _runs_away(curve[1]):
            found[name] = "growing, and not slowing down"
    if not found:
        return []
    evidence = tuple(
        Evidence(
            f"{name}: |w| from {short(table[name][1][0])} to {short(table[name][1][-1])} at step {table[name][0][-1]}, "
            f"{why}",
            "weight_norm",
            name,
            table[name][1][-1],
            table[name][0][-1],
        )
        for name, why in list(found.items())[:6]
    )
    return [
        Finding(
            "unbounded_norm",
            "warning",
            f"The norm of {len(found)} weight{'s' if len(found) > 1 else ''} grows without bound.",
            evidence,
            "Every step is longer than what (absent or weak) decay takes back; the norm finds no equilibrium, so the "
            "speed of "
            "learning changes by itself during the run.",
            _remedy(run, next(iter(found))),
            "arXiv 2305.17212 for scale-invariant weights; growth limits for others are heuristic",
            tuple(found),
            table[next(iter(found))][0][-1],
        )
    ]


def _undecayed(run: RunFacts, name: str) -> bool:
    return run.groups[run.parameters[name].group].decay == "none"


def _follows_law(run: RunFacts, name: str, curve: Series) -> bool:
    steps, norms = curve
    power = 4 if run.groups[run.parameters[name].group].family == "sgd" else 2
    slope, straight = straightness(steps, [n**power for n in norms])
    return len(norms) >= MIN_SAMPLES and slope > 0 and straight > STRAIGHT and norms[-1] > GREW * norms[0]


def _runs_away(norms: list[float]) -> bool:
    if len(norms) < MIN_SAMPLES:
        return False
    quarter = len(norms) // 4
    start = norms[max(1, len(norms) // 10)]
    last, before = norms[-1] - norms[-1 - quarter], norms[-1 - quarter] - norms[-1 - 2 * quarter]
    return norms[-1] > TRIPLED * start and last >= before > 0


def _remedy(run: RunFacts, name: str) -> Remedy:
    facts = run.groups[run.parameters[name].group]
    rotations = [r for r in run.find("rotation", name)[1] if math.isfinite(r)]
    if not rotations or facts.family not in ("adam", "sgd") or not facts.lr:
        return Remedy("Turn weight decay on for this weight, or normalise it after each step.")
    rotation, beta1 = rotations[-1], facts.beta1 if facts.family == "adam" else None
    decay = decay_for_rotation(rotation=rotation, lr=facts.peak_lr, beta1=beta1, momentum=facts.momentum)
    decay = float(f"{decay:.2g}")
    text = (
        f"weight_decay={short(decay)} at lr={short(facts.peak_lr)} holds {name} where it now is: it goes on turning by "
    )
    text += f"{short(rotation)} rad per step, and the norm stops growing."
    optimizer = "AdamW" if facts.family == "adam" else run.optimizer
    code = run.code(optimizer, run.parameters[name].group, weight_decay=decay)
    return Remedy(text, code, {"weight_decay": decay})
