"""Schedules: a hyper-parameter as a function of the step number.

Wherever a hyper-parameter takes a number it takes a Schedule: `adamw(lr=cosine(peak=3e-4, total_steps=1000))`. The
Optimizer evaluates it on the host before each step and writes the number into the param group, so kernels never see it
and a resumed run continues at the right place. A Schedule owns its key: writing that key from outside is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from equipoise._errors import ArgumentError


@dataclass(frozen=True)
class Schedule:
    """A value for each step 1, 2, 3, ...

    Args:
        at: step number (int, from 1) -> value.
        peak: largest value it takes; laws that need the peak learning rate read this.
        text: how it is printed.
    """

    at: Callable[[int], float]
    peak: float | None
    text: str

    def __call__(self, step: int) -> float:
        """The value at a step number, from 1."""
        return float(self.at(step))

    def __str__(self) -> str:
        return self.text


def _check_steps(name: str, value: int, least: int = 1) -> None:
    if not isinstance(value, int) or value < least:
        raise ArgumentError(
            name, value, f"a whole number of steps, at least {least}", "Count optimizer steps, not epochs."
        )


def _ramp(step: int, steps: int) -> float:
    return min(1.0, step / steps) if steps > 0 else 1.0


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return Schedule(lambda step: value, value, f"constant({value:g})")


def warmup(peak: float, *, steps: int) -> Schedule:
    """Linear from peak/steps at step 1 to `peak` at step `steps`, then constant."""
    _check_steps("steps", steps)
    return Schedule(lambda step: peak * _ramp(step, steps), peak, f"warmup({peak:g}, steps={steps})")


def cosine(peak: float, *, total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> Schedule:
    """Linear warm-up, then half a cosine from `peak` down to `final` at `total_steps`.

    The step after warm-up has the peak; the last step, `total_steps`, has `final`.
    """
    _check_steps("total_steps", total_steps)
    _check_steps("warmup_steps", warmup_steps, least=0)

    def at(step: int) -> float:
        if step <= warmup_steps:
            return peak * _ramp(step, warmup_steps)
        start = max(warmup_steps, 1)
        done = min(1.0, (step - start) / max(1, total_steps - start))
        return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * done))

    return Schedule(at, peak, f"cosine({peak:g}, total_steps={total_steps}, warmup_steps={warmup_steps})")


def wsd(peak: float, *, total_steps: int, warmup_steps: int = 0, decay_steps: int, final: float = 0.0) -> Schedule:
    """Warm-up, stable, decay: linear up, flat at `peak`, linear down to `final` over the last `decay_steps`."""
    _check_steps("total_steps", total_steps)
    _check_steps("decay_steps", decay_steps)
    if warmup_steps + decay_steps > total_steps:
        got = f"{warmup_steps} + {decay_steps} > {total_steps}"
        raise ArgumentError("warmup_steps + decay_steps", got, "at most total_steps", "Shorten one of the phases.")

    def at(step: int) -> float:
        down = max(0, step - (total_steps - decay_steps))
        left = max(0.0, 1.0 - down / decay_steps)
        return peak * _ramp(step, warmup_steps) if down == 0 else final + (peak - final) * left

    return Schedule(at, peak, f"wsd({peak:g}, total_steps={total_steps}, decay_steps={decay_steps})")


def one_cycle(
    peak: float, *, total_steps: int, rise: float = 0.3, div: float = 25.0, final_div: float = 1e4
) -> Schedule:
    """Cosine from peak/div up to `peak` at `rise * total_steps - 1`, then cosine down to peak/div/final_div.

    Source: Smith 2018, arXiv:1803.09820; two-phase form and end points as torch.optim.lr_scheduler.OneCycleLR.
    """
    _check_steps("total_steps", total_steps, least=2)
    top = rise * total_steps - 1
    low, last = peak / div, peak / div / final_div

    def at(step: int) -> float:
        k = step - 1
        if k <= top:
            return _anneal(low, peak, k / top if top > 0 else 1.0)
        return _anneal(peak, last, min(1.0, (k - top) / (total_steps - 1 - top)))

    return Schedule(at, peak, f"one_cycle({peak:g}, total_steps={total_steps})")


def _anneal(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
