"""Laws of decay: how large the decay coefficient c_t is at this step.

Source     Loshchilov and Hutter 2017, arXiv:1711.05101: equation of Algorithm 2, line 12 (independent), section 3 and
           appendix B.1 (normalized); torch.optim.AdamW (lr); Heo et al. 2021, arXiv:2006.08217, authors' code of SGDP
           (momentum); Defazio 2025, arXiv:2506.02285 (corrective).
Symbols    eta_t = lr, eta_max = peak lr, lambda = weight_decay, mu = momentum,
           T = updates in the current restart period.
Rule       "lr"           c_t = eta_t lambda                                   (1)
           "independent"  c_t = (eta_t / eta_max) lambda                       (2)
           "normalized"   c_t = (eta_t / eta_max) lambda / sqrt(T)             (3)
           "momentum"     c_t = eta_t lambda / (1 - mu)                           (4)
           "corrective"   c_t = (eta_t / eta_max) eta_t lambda                    (5)
Invariant  At constant lr, (2) with lambda_2 = eta_max lambda_1 is (1). At eta_t = eta_max, (5) is (1).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

LAWS: dict[str, Callable[[SimpleNamespace], float]] = {
    "lr": lambda h: h.lr * h.weight_decay,  # (1)
    "independent": lambda h: h.lr / h.peak_lr * h.weight_decay,  # (2)
    "normalized": lambda h: h.lr / h.peak_lr * h.weight_decay / h.period**0.5,  # (3)
    "momentum": lambda h: h.lr * h.weight_decay / (1 - h.momentum),  # (4)
    "corrective": lambda h: h.lr / h.peak_lr * h.lr * h.weight_decay,  # (5)
}
NEED_PEAK_LR = ("independent", "normalized", "corrective")
_KEYS = {"normalized": ("period",), "momentum": ("momentum",)}


def law_keys(law: str) -> tuple[str, ...]:
    """Group keys that a law reads besides lr."""
    return ("weight_decay", *_KEYS.get(law, ()))
