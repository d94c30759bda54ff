"""The closed forms solved for the knob: which decay, lr, eps or initial scale gives a wanted behaviour."""

from __future__ import annotations

import math


def decay_for_rotation(*, rotation: float, lr: float, beta1: float | None = None, momentum: float = 0.0) -> float:
    """Weight decay that makes a scale-invariant weight turn by `rotation` radians per step.

    AdamW when `beta1` is given, else SGD with `momentum`. Source: arXiv 2305.17212, solved for lambda.

    Example:
        >>> round(decay_for_rotation(rotation=1e-3, lr=3e-4, beta1=0.9), 6)
        0.031667
    """
    if beta1 is not None:
        return rotation**2 * (1 + beta1) / (2 * lr * (1 - beta1))
    return rotation**2 * (1 + momentum) / (2 * lr)


def decay_for_timescale(*, steps: float, lr: float) -> float:
    """Decoupled weight decay whose averaging time-scale is `steps`. Source: arXiv 2405.13698, tau = 1 / (eta lam)."""
    return 1 / (lr * steps)


def init_rms_without_transient(*, lr: float, weight_decay: float) -> float:
    """Initial RMS of a scale-invariant weight that starts AdamW in equilibrium: sqrt(eta / (2 lam))."""
    return math.sqrt(lr / (2 * weight_decay))


def eps_for_denominator(*, median_root: float, eps: float) -> float:
    """Adam's eps at most 1 % of the median sqrt(v): min(eps, 0.01 * median_root)."""
    return min(eps, 0.01 * median_root)
