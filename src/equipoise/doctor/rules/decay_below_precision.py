"""Weight decay is lost in rounding: the weights are kept in half precision.

Source: rounding of bf16 and fp16 (8 and 11 bits): measured, decay is a complete no-op for lr * weight_decay <= 1e-3 in
bf16 and 1e-4 in fp16, and partial up to twice that.
Rule: bf16 parameters and a decay per step below 2e-3, or fp16 and below 2.5e-4.
"""

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short

FLOOR = {"bfloat16": 2e-3, "float16": 2.5e-4}


@method(kind="rule", scope="run")
def decay_below_precision(run: RunFacts) -> list[Finding]:
    """Warning that names the dtype and the floor."""
    if not run.parameters:
        raise CannotTellError("the parameters are not known")
    guilty = [p for p in run.parameters.values() if _is_lost(run, p.group, p.dtype)]
    if not guilty:
        return []
    rate = run.groups[guilty[0].group].decay_rate(run.groups[guilty[0].group].peak_lr) or 0.0
    floor = FLOOR[guilty[0].dtype]
    evidence = Evidence(f"{len(guilty)} parameters in {guilty[0].dtype}: decay {short(rate)} per step, floor {floor:g}")
    text = "Keep fp32 master weights and cast for the forward pass (autocast), so that small decays and updates add up."
    return [
        Finding(
            "decay_below_precision",
            "warning",
            "Weight decay is rounded away.",
            (evidence,),
            "A relative change below half a unit in the last place leaves a half-precision number as it was.",
            Remedy(text, code=f"model.float()  # and: with torch.autocast('cuda', torch.{guilty[0].dtype}): ..."),
            "rounding, checked numerically",
            tuple(p.name for p in guilty),
        )
    ]


def _is_lost(run: RunFacts, group: int, dtype: str) -> bool:
    facts = run.groups[group]
    rate = facts.decay_rate(facts.peak_lr) if facts.decay == "decoupled" else None
    return dtype in FLOOR and rate is not None and 0 < rate < FLOOR[dtype]
