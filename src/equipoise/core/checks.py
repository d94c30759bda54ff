"""Checks of hyper-parameters: each error names the parameter, the value, the range and the cure."""

from __future__ import annotations

from collections.abc import Iterable

from equipoise._errors import ArgumentError
from equipoise.core.schedule import Schedule


def check_at_least(name: str, value: object, least: float) -> None:
    """Raise ArgumentError unless `value` is a number >= `least`, a Schedule, or a one-element tensor."""
    if isinstance(value, Schedule):
        return
    number = _number(name, value)
    if not number >= least:
        raise ArgumentError(name, value, f"a number >= {least:g}", f"Choose {name} >= {least:g}.")


def check_fraction(name: str, value: object) -> None:
    """Raise ArgumentError unless 0 <= value < 1 (or a Schedule)."""
    if isinstance(value, Schedule):
        return
    if not 0.0 <= _number(name, value) < 1.0:
        raise ArgumentError(name, value, "a number in [0, 1)", "It is the share of the past that is kept, such as 0.9.")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ArgumentError unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise ArgumentError(name, value, "one of " + ", ".join(map(repr, choices)), f"Pick one of these for {name}.")


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ArgumentError(name, value, "a number or a Schedule", "Pass a plain float.") from error
