"""Hyper-parameters live in the param groups, under torch's keys. Here they become numbers for one step.

Symbols    beta_t: what is kept of an average at step t; b_t: the weight that the start still has after t steps.
Rule       b_t = beta^t                       constant beta, and betas that are written from outside (as in torch)  (1)
           b_t = beta_1 beta_2 ... beta_t     betas that hold a Schedule                                            (2)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from equipoise._errors import ArgumentError
from equipoise.core.schedule import Schedule
from equipoise.core.schedules.constant import constant

Group = dict[str, Any]
# Keys of a group that are no hyper-parameters: whoever wrote them reads them.
NOT_HYPER = ("params", "param_names", "updates", "runner", "constructor_lr", "beta_products")


def numbers(group: Group, t: int) -> SimpleNamespace:
    """The hyper-parameters of a group as floats, for a parameter's step number t (from 1)."""
    values: dict[str, Any] = {"t": t}
    for key, value in group.items():
        if key == "betas":
            values["beta1"], values["beta2"] = map(float, value)
            values["beta1_power"], values["beta2_power"] = _powers(group, t)
        elif key not in NOT_HYPER:
            values[key] = float(value) if _is_number(value) else value
    values["peak_lr"] = peak_lr(group)
    return SimpleNamespace(**values)


def beta_power(h: SimpleNamespace, name: str) -> float:
    """The weight b_t that an average with that beta ("beta1" or "beta2") still gives its start, (1) or (2)."""
    power = getattr(h, f"{name}_power", None)
    return getattr(h, name) ** h.t if power is None else power


def _powers(group: Group, t: int) -> tuple[float | None, float | None]:
    """(2) for the betas of a group, where it counts; a parameter that missed steps gets its share of the product."""
    products, updates = group.get("beta_products"), group.get("updates")
    if products is None or not updates:
        return None, None
    return products[0] ** (t / updates), products[1] ** (t / updates)


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, bool)


def peak_lr(group: Group) -> float | None:
    """The learning rate that laws measure against: never read off a step, where warm-up makes it tiny.

    First of: the group's own `peak_lr`, OneCycleLR's `max_lr`, a scheduler's `initial_lr`, the constructor's `lr`.
    """
    for key in ("peak_lr", "max_lr", "initial_lr", "constructor_lr"):
        if group.get(key) is not None:
            return float(group[key])
    return None


@dataclass(frozen=True)
class Pair:
    """Two hyper-parameters under one key, as torch's betas: at least one of them is a Schedule."""

    first: Schedule
    second: Schedule

    def __call__(self, step: int) -> tuple[float, float]:
        """Both values at a step number, from 1."""
        return self.first(step), self.second(step)

    def __str__(self) -> str:
        return f"({self.first}, {self.second})"


def _owner(value: object) -> Schedule | Pair | None:
    """What writes a key: its Schedule, a pair with a Schedule in it, nobody."""
    if isinstance(value, Schedule):
        return value
    if not isinstance(value, tuple | list) or not any(isinstance(v, Schedule) for v in value):
        return None
    first, second = (v if isinstance(v, Schedule) else constant(float(v)) for v in value)
    return Pair(first, second)


class Schedules:
    """The Schedules of one group: each owns its key, writes it before every step and refuses other writers."""

    def __init__(self, group: Group) -> None:
        found = {key: _owner(value) for key, value in group.items()}
        self.of: dict[str, Schedule | Pair] = {key: owner for key, owner in found.items() if owner is not None}
        group.setdefault("updates", 0)
        if "betas" in self.of:
            group.setdefault("beta_products", (1.0, 1.0))
        rate = self.of.get("lr")
        if isinstance(rate, Schedule) and group.get("peak_lr") is None:
            group["peak_lr"] = rate.peak
        for key, schedule in self.of.items():
            group[key] = schedule(group["updates"] + 1)

    def advance(self, group: Group) -> None:
        """Write the values of the coming step. A learning rate of 0 written from outside is a probe step: kept once.

        Raises:
            ArgumentError: another value was written to a key that a Schedule owns.
        """
        if group.get("lr") == 0 and "lr" in self.of and self.of["lr"](group["updates"] + 1) != 0:
            return
        for key, schedule in self.of.items():
            expected = (schedule(max(group["updates"], 1)), schedule(group["updates"] + 1))
            if group[key] not in expected:
                cure = f"Remove the torch scheduler, or pass {key} as a number."
                raise ArgumentError(
                    f"param group key {key!r}", group[key], f"no write from outside: {schedule} owns it", cure
                )
            group[key] = expected[1]
        group["updates"] += 1
        if "betas" in self.of:
            first, second = group["beta_products"]
            group["beta_products"] = (first * group["betas"][0], second * group["betas"][1])


@contextmanager
def advanced(schedules: Sequence[Schedules], groups: Sequence[Group]) -> Iterator[None]:
    """Groups as they are in the coming step; what fails leaves them as they were."""
    before = [dict(group) for group in groups]
    try:
        for own, group in zip(schedules, groups, strict=True):
            own.advance(group)
        yield
    except BaseException:
        for group, values in zip(groups, before, strict=True):
            group.update(values)
        raise
