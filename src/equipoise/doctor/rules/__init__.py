"""Rules: one symptom per file; a rule takes a run and gives findings, or says that it lacks a signal.

The order is that of causes: numerics, divergence, attention and logits, decay, propagation. A warning or error of an
upstream rule silences the rules that would only describe its consequences.
"""

from __future__ import annotations

from collections.abc import Callable

from equipoise.doctor.finding import Finding
from equipoise.doctor.rules import (
    adam_eps_too_large,
    attention_collapse,
    coupled_decay,
    decay_below_precision,
    decay_cannot_act,
    decay_on_gains,
    dying_units,
    learning_rate_too_high,
    nonfinite,
    output_logit_drift,
    unbalanced_updates,
    unbounded_norm,
)
from equipoise.doctor.run_facts import RunFacts

Rule = Callable[[RunFacts], list[Finding]]
_MODULES = (
    nonfinite,
    decay_below_precision,
    learning_rate_too_high,
    attention_collapse,
    output_logit_drift,
    adam_eps_too_large,
    coupled_decay,
    decay_on_gains,
    decay_cannot_act,
    unbounded_norm,
    unbalanced_updates,
    dying_units,
)
RULES: dict[str, Rule] = {m.__name__.rsplit(".", 1)[-1]: getattr(m, m.__name__.rsplit(".", 1)[-1]) for m in _MODULES}

# Rules that need no curve: they also run before the first step.
CONFIG_RULES = ("decay_below_precision", "coupled_decay", "decay_on_gains", "decay_cannot_act")

# consequence -> the causes that explain it
EXPLAINED_BY: dict[str, tuple[str, ...]] = {
    "learning_rate_too_high": ("nonfinite",),
    "decay_on_gains": ("coupled_decay",),
    "unbounded_norm": ("nonfinite", "learning_rate_too_high"),
    "unbalanced_updates": ("nonfinite", "learning_rate_too_high", "coupled_decay", "adam_eps_too_large"),
    "dying_units": ("nonfinite", "learning_rate_too_high", "coupled_decay"),
    "output_logit_drift": ("nonfinite", "learning_rate_too_high"),
}
