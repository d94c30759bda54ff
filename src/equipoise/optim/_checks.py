"""Checks that several ready optimizers share."""

from __future__ import annotations

from equipoise._errors import ArgumentError
from equipoise.core.checks import check_at_least, check_fraction


def check_adam(lr: object, beta1: object, beta2: object, eps: object, weight_decay: object) -> None:
    """Ranges of Adam's numbers: lr, eps, weight_decay >= 0; betas in [0, 1)."""
    check_fraction("beta1", beta1)
    check_fraction("beta2", beta2)
    for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        check_at_least(name, value, 0.0)


def check_momentum(momentum: object, dampening: object, nesterov: bool) -> None:
    """momentum >= 0; Nesterov needs momentum and no dampening, as in torch."""
    check_at_least("momentum", momentum, 0.0)
    if nesterov and (momentum == 0 or dampening != 0):
        got = f"momentum={momentum}, dampening={dampening}"
        raise ArgumentError("nesterov", got, "momentum > 0 and dampening = 0", "Set momentum=0.9, dampening=0.")


def check_period(law: str, period: object) -> None:
    """Law "normalized" needs the number of updates in a restart period."""
    if law != "normalized":
        return
    if period is None:
        cure = "Pass period=, the number of updates until the next restart, or in the whole run."
        raise ArgumentError("period", None, "a number of updates, for law 'normalized'", cure)
    check_at_least("period", period, 1.0)
