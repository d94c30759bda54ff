"""What a fused step is made of: values, terms, operations, and the host's own arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

SCALAR, ROW, FULL = 0, 1, 2
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}  # of the same size


@dataclass(frozen=True)
class Number:
    """A number known on the host: the learning rate, a coefficient, or computed from them. An index into the tape."""

    index: int


@dataclass(frozen=True)
class Value:
    """A tensor: an input, or the result of one operation.

    `extent`: SCALAR, ROW (one number for each row of a slice, [rows, 1]) or FULL (of the slice's shape).
    """

    index: int
    dtype: torch.dtype
    extent: int


Factor = Number | float


@dataclass(frozen=True)
class Product:
    """An elementwise product ("mul") or quotient ("div") that nobody has computed yet."""

    name: str
    left: Value
    right: Value

    @property
    def dtype(self) -> torch.dtype:
        """Of the result."""
        return self.left.dtype

    @property
    def extent(self) -> int:
        """Of the result."""
        return max(self.left.extent, self.right.extent)

    @property
    def mixed(self) -> bool:
        """Whether one factor is broadcast along the rows of the other."""
        return self.left.extent != self.right.extent


@dataclass(frozen=True)
class Term:
    """`scale` times a tensor."""

    scale: Factor
    of: Value | Product


@dataclass(frozen=True)
class Mask:
    """The outcome of a comparison as 1.0 and 0.0: in booleans eager comparisons are slow."""

    of: Value


@dataclass(frozen=True)
class Bits:
    """A value seen as integers of its size."""

    of: Value


@dataclass(frozen=True)
class Operation:
    """One operation by element, or one reduction: arguments are values (or their bits), numbers or constants.

    The result is a new value; `bits` says that its bits are what is computed.
    """

    name: str
    target: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    out: Value
    bits: bool = False

    def reads(self) -> list[Value]:
        """The values that it reads."""
        found = [*self.args, *(value for _, value in self.kwargs)]
        return [a.of if isinstance(a, Bits) else a for a in found if isinstance(a, Value | Bits)]

    def numbers(self) -> list[Number]:
        """The host numbers that it reads."""
        return [a for a in (*self.args, *(value for _, value in self.kwargs)) if isinstance(a, Number)]


@dataclass(frozen=True)
class Sum:
    """A number that a reduction over a whole tensor gives: `out` holds the part of one slice; "sum" or "max"."""

    out: Value
    kind: str


@dataclass
class Tape:
    """Arithmetic of host numbers: the first `given` are given anew, the others follow from them or are sums."""

    given: int
    steps: list[tuple[Callable[..., Any], tuple[Any, ...]] | Sum] = field(default_factory=list)

    def put(self, call: Callable[..., Any], *args: Any) -> Any:
        """A new number, or a constant when all arguments are constants."""
        if not any(isinstance(a, Number) for a in args):
            return call(*args)
        if (call, args) not in self.steps:
            self.steps.append((call, args))
        return Number(self.given + self.steps.index((call, args)))

    def late(self, out: Value, kind: str) -> Number:
        """The number that the parts in `out` make together, known when all slices were seen."""
        self.steps.append(Sum(out, kind))
        return Number(self.given + len(self.steps) - 1)

    def play(self, values: list[Any], places: Sequence[int]) -> None:
        """Work out the numbers at `places`, in order; `values` holds all numbers, those that they follow from first."""
        for place in places:
            call, args = self.steps[place - self.given]  # type: ignore[misc]
            values[place] = call(*[values[a.index] if isinstance(a, Number) else a for a in args])


@dataclass
class Fused:
    """A step as few operations on tensors, and a tape for the host."""

    inputs: list[Value]
    tape: Tape
    operations: list[Operation] = field(default_factory=list)
    boxes: dict[Value, tuple[Factor | bool, torch.dtype]] = field(default_factory=dict)  # host numbers as 0-D tensors
    outputs: list[Any] = field(default_factory=list)  # numbers, or values with one number for each row
    scalars: int = 0  # how many inputs are numbers, given last
    kept: dict[int, Any] = field(default_factory=dict)  # input that is a number -> its new value
    index: Value | None = None  # each element's place in its tensor, int64, where the step asks for it
    stores: list[tuple[Value, Value]] = field(default_factory=list)  # (input that is written, its new value)


def quotient(a: float, b: float) -> float:
    """a / b as tensors divide: by zero it is an infinity or NaN."""
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b
