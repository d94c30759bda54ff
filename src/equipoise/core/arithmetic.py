"""Arithmetic of single numbers on the host, with the results that tensors would give: infinities and NaN, no errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from equipoise.core.terms import quotient


def times(a: float, b: float) -> float:
    """a b."""
    return a * b


def _guarded(call: Callable[[float], float], beyond: Callable[[float], float]) -> Callable[[float], float]:
    """`call`, and `beyond` where Python refuses."""

    def guarded(x: float) -> float:
        try:
            return call(x)
        except (ValueError, OverflowError):
            return beyond(x)

    return guarded


def _power(x: float, exponent: float) -> float:
    if 1e-30 < x < 1e30 and abs(exponent) < 10:
        return x**exponent
    return torch.tensor(x, dtype=torch.float64).pow(exponent).item()


def _clamp(x: float, low: float | None = None, high: float | None = None) -> float:
    x = x if low is None else _larger(x, low)
    return x if high is None else _smaller(x, high)


def _larger(a: float, b: float) -> float:
    return math.nan if a != a or b != b else max(a, b)


def _smaller(a: float, b: float) -> float:
    return math.nan if a != a or b != b else min(a, b)


def _where(condition: bool, a: float, b: float) -> float:
    return a if condition else b


# By the names of torch's operators.
SCALARS: dict[str, Callable[..., Any]] = {
    "mul": times,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "rsub": lambda a, b: b - a,
    "div": quotient,
    "neg": lambda a: -a,
    "abs": abs,
    "reciprocal": lambda a: quotient(1.0, a),
    "sqrt": _guarded(math.sqrt, lambda _: math.nan),
    "exp": _guarded(math.exp, lambda _: math.inf),
    "pow": _power,
    "clamp": _clamp,
    "clamp_min": _larger,
    "clamp_max": _smaller,
    "maximum": _larger,
    "minimum": _smaller,
    "where": _where,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_or": lambda a, b: bool(a) or bool(b),
    "logical_not": lambda a: not a,
}
