"""Attention collapses onto single keys, or its scores grow towards divergence.

Source: Wortsman et al., arXiv 2309.14322 section 3.1: max score ~50 usual, 1e3 the loss deteriorates, 1e4 every run
diverged; Zhai et al., arXiv 2303.06296 for entropy collapse (their criterion is qualitative; the numbers here are
heuristic).
Rule: attention_max_logit > 1e3 (warning) or > 1e4 (error) in any layer; or a quarter of all heads of the model
collapsed (attention_collapsed_heads) in 2 of 3 samples; or a layer's attention_entropy that fell by half within 500
steps to below 0.15. A single sharp head, as one that looks at the previous token, is healthy.
"""

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy, Severity
from equipoise.doctor.persistence import held_at
from equipoise.doctor.run_facts import RunFacts, short
from equipoise.doctor.store import Series

WARN_LOGIT, DIVERGED_LOGIT = 1e3, 1e4
COLLAPSED_SHARE = 0.25
DROP, DROP_STEPS, DROP_BELOW = 0.5, 500, 0.15
CURE = "give equipoise.watch a probe batch, inputs=..., of a model that attends"


@method(kind="rule", paper="2309.14322", scope="layer", see_also=("attention_max_logit", "attention_entropy"))
def attention_collapse(run: RunFacts) -> list[Finding]:
    """Warning per run, error from scores of 1e4 on."""
    logits = run.table("attention_max_logit", CURE)
    evidence = [e for e in (_grown(name, *curve) for name, curve in logits.items()) if e is not None]
    largest = max((e.value or 0.0 for e in evidence), default=0.0)
    shares = _optional(run, "attention_collapsed_heads")
    evidence += [e for e in (_heads(name, *c) for name, c in shares) if e] if _many(shares) else []
    evidence += [e for e in (_fall(name, *c) for name, c in _optional(run, "attention_entropy")) if e]
    if not evidence:
        return []
    severity: Severity = "error" if largest > DIVERGED_LOGIT else "warning"
    return [
        Finding(
            "attention_collapse",
            severity,
            "Attention looks at single keys: its entropy has collapsed or its scores are out of range.",
            tuple(evidence[:6]),
            "Queries and keys have grown, so the softmax saturates; gradients through it vanish and the loss may "
            "diverge.",
            _remedy(run),
            "scores: arXiv 2309.14322; entropy: heuristic on arXiv 2303.06296",
            tuple(dict.fromkeys(e.tensor for e in evidence)),
            min(e.step for e in evidence if e.step is not None),
        )
    ]


def _optional(run: RunFacts, metric: str) -> list[tuple[str, Series]]:
    return [(name, run.find(metric, name)) for name in run.table("attention_max_logit", CURE)]


def _many(shares: list[tuple[str, Series]]) -> bool:
    """Whether a quarter of all heads of the model are collapsed, in 2 of 3 samples: single heads may well be sharp."""
    by_step = zip(*(values for _, (_, values) in shares if values), strict=False)
    return held_at([sum(step) / len(step) >= COLLAPSED_SHARE for step in by_step], k=2, n=3) is not None


def _grown(name: str, steps: list[int], values: list[float]) -> Evidence | None:
    at = next((i for i, v in enumerate(values) if v > WARN_LOGIT), None)
    if at is None:
        return None
    top = max(values)
    text = f"{name}: largest score {short(top)}, above 1000 from step {steps[at]} on"
    return Evidence(text, "attention_max_logit", name, top, steps[at])


def _heads(name: str, steps: list[int], shares: list[float]) -> Evidence | None:
    at = held_at([share >= COLLAPSED_SHARE for share in shares], k=2, n=3)
    if at is None:
        return None
    text = (
        f"{name}: {100 * shares[at]:.0f} % of the heads have under a tenth of the possible entropy at step {steps[at]}"
    )
    return Evidence(text, "attention_collapsed_heads", name, shares[at], steps[at])


def _fall(name: str, steps: list[int], values: list[float]) -> Evidence | None:
    for i, (step, value) in enumerate(zip(steps, values, strict=True)):
        before = [v for s, v in zip(steps[:i], values[:i], strict=True) if step - s <= DROP_STEPS]
        if before and value < DROP_BELOW and value < DROP * max(before):
            text = f"{name}: entropy fell from {short(max(before))} to {short(value)} of the largest possible"
            return Evidence(f"{text} by step {step}", "attention_entropy", name, value, step)
    return None


def _remedy(run: RunFacts) -> Remedy:
    text = "Normalise queries and keys per head before the product (qk-norm); it bounds the scores whatever the "
    text += "weights do. "
    lr = max((g.peak_lr for g in run.groups), default=0.0)
    text += f"Without touching the model: lower lr from {short(lr)} to {short(lr / 3)} and warm up longer."
    return Remedy(text, code="q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])  # before attention")
