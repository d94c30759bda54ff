"""Timescale: over how many steps (and epochs) decoupled weight decay averages the updates.

Source: Wang, Aitchison, "How to set AdamW's weight decay as you scale model and dataset size", arXiv 2405.13698.

Symbols: eta lr, lam decay, M steps per epoch, T steps of the run, h horizon.

Rule: (1) w_t = (1 - 1/tau) w_(t-1) + (1/tau) q_t, tau = 1 / (eta lam) steps = 1 / (eta lam M) epochs
      (2) h = sum of eta_t lam over the run; the initial weights survive with the factor exp(-h)
      (3) for a wanted time-scale in epochs: lam = 1 / (eta M tau_epochs)

Bands: 1 epoch <= tau <= the whole run is the natural range (paper); h < 0.3 means a decorative decay (heuristic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from equipoise._card import method
from equipoise._errors import ArgumentError


@dataclass(frozen=True)
class Timescale:
    """The memory that decay gives the weights.

    Attributes:
        steps: tau in optimizer steps (inf without decay).
        epochs: tau in epochs, None when the length of an epoch is unknown.
        horizon: h of (2), None when the length of the run is unknown.
        survival: exp(-h), the factor with which the initial weights survive.
    """

    steps: float
    epochs: float | None
    horizon: float | None
    survival: float | None


@method(kind="law", paper="2405.13698", equations="section 2", applies_to=("decoupled decay",), scope="tensor")
def timescale(
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    total_steps: int | None = None,
    steps_per_epoch: float | None = None,
    mean_lr_share: float = 1.0,
) -> Timescale:
    """Averaging time-scale of decoupled decay.

    Args:
        lr: learning rate (peak, when scheduled).
        weight_decay: decay coefficient as in torch's AdamW.
        total_steps: optimizer steps of the whole run, for the horizon.
        steps_per_epoch: optimizer steps per pass over the data, for epochs.
        mean_lr_share: mean of lr over the run divided by `lr`; 0.5 for a cosine to 0.

    Example:
        >>> round(timescale(lr=3e-4, weight_decay=0.1).steps)
        33333
    """
    rate = lr * weight_decay
    if not 0 <= rate < 1:
        raise ArgumentError(
            "lr * weight_decay", rate, "a number in [0, 1)", "A step would shrink the weights past zero."
        )
    steps = 1 / rate if rate else math.inf  # (1)
    horizon = None if total_steps is None else rate * total_steps * mean_lr_share  # (2)
    epochs = None if steps_per_epoch is None else steps / steps_per_epoch
    return Timescale(steps, epochs, horizon, None if horizon is None else math.exp(-horizon))
