"""Hyper-parameters live in the param groups, under torch's keys. Here they become numbers for one step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from equipoise._errors import ArgumentError
from equipoise.core.schedule import Schedule

Group = dict[str, Any]
# Keys of a group that are no hyper-parameters: whoever wrote them reads them.
NOT_HYPER = ("params", "param_names", "updates", "runner", "constructor_lr")


def numbers(group: Group, t: int) -> SimpleNamespace:
    """The hyper-parameters of a group as floats, for a parameter's step number t (from 1)."""
    values: dict[str, Any] = {"t": t}
    for key, value in group.items():
        if key == "betas":
            values["beta1"], values["beta2"] = map(float, value)
        elif key not in NOT_HYPER:
            values[key] = float(value) if _is_number(value) else value
    values["peak_lr"] = peak_lr(group)
    return SimpleNamespace(**values)


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


class Schedules:
    """The Schedules of one group: each owns its key, writes it before every step and refuses other writers."""

    def __init__(self, group: Group) -> None:
        self.of = {key: value for key, value in group.items() if isinstance(value, Schedule)}
        group.setdefault("updates", 0)
        if "lr" in self.of and group.get("peak_lr") is None:
            group["peak_lr"] = self.of["lr"].peak
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
