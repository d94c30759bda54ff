"""Laws of decay: how large the decay coefficient c_t is at this step.

Source     Loshchilov and Hutter 2017, arXiv:1711.05101: equation of Algorithm 2, line 12 (independent), section 3 and
           appendix B.1 (normalized); torch.optim.AdamW (lr).
Symbols    eta_t = lr, eta_max = peak lr, lambda = weight_decay, T = updates in the current restart period.
Rule       "lr"           c_t = eta_t lambda                                   (1)
           "independent"  c_t = (eta_t / eta_max) lambda                       (2)
           "normalized"   c_t = (eta_t / eta_max) lambda / sqrt(T)             (3)
Invariant  At constant lr, (2) with lambda_2 = eta_max lambda_1 is (1).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

LAWS: dict[str, Callable[[SimpleNamespace], float]] = {
    "lr": lambda h: h.lr * h.weight_decay,  # (1)
    "independent": lambda h: h.lr / h.peak_lr * h.weight_decay,  # (2)
    "normalized": lambda h: h.lr / h.peak_lr * h.weight_decay / h.period**0.5,  # (3)
}


def law_keys(law: str) -> tuple[str, ...]:
    """Group keys that a law reads besides lr."""
    return ("weight_decay", "period") if law == "normalized" else ("weight_decay",)
