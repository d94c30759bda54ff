"""What the rules of fusion build with: values, terms computed once, host numbers as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Node

from equipoise.core.arithmetic import times
from equipoise.core.terms import FULL, ROW, SCALAR, Factor, Fused, Mask, Operation, Product, Term, Value, quotient


class Like(NamedTuple):
    """What a new value is like."""

    dtype: torch.dtype
    extent: int


class Builder:
    """Appends operations to a fused step. `stacked`: every row of a slice is a tensor of its own."""

    def __init__(self, fused: Fused, *, stacked: bool) -> None:
        self.fused, self.stacked, self.count = fused, stacked, 0
        self.known: dict[Node, Any] = {}
        self.computed: dict[Term, Value] = {}

    def value(self, like: Any) -> Value:
        """A new value, like a node, a tensor, or whatever has a dtype and an extent."""
        like = like.meta["val"] if isinstance(like, Node) else like
        extent = self.extent_of(like) if isinstance(like, Tensor) else like.extent
        self.count += 1
        return Value(self.count - 1, like.dtype, extent)

    def extent_of(self, traced: Tensor) -> int:
        """How far a traced tensor extends."""
        if traced.ndim == 0:
            return ROW if self.stacked else SCALAR
        columns = traced.shape[1] if traced.ndim == 2 else None
        return ROW if isinstance(columns, int) and columns == 1 else FULL

    def emit(self, name: str, args: Sequence[Any], kwargs: Any, like: Any, target: Any = None) -> Value:
        """One more operation; returns its result."""
        out = self.value(like)
        self.fused.operations.append(Operation(name, target, tuple(args), tuple(kwargs), out))
        return out

    def bits(self, name: str, x: Any, y: Any, like: Any) -> Value:
        """One more operation on bits."""
        out = self.value(like)
        self.fused.operations.append(Operation(name, None, (x, y), (), out, bits=True))
        return out

    def by(self, a: Factor, b: Factor) -> Factor:
        """The product of two scales."""
        if a == 1.0 or b == 1.0:
            return b if a == 1.0 else a
        return self.fused.tape.put(times, a, b)

    def over(self, a: Factor, b: Factor) -> Factor:
        """The quotient of two scales."""
        return a if b == 1.0 else self.fused.tape.put(quotient, a, b)

    def bare(self, a: Term) -> Value:
        """The tensor of a term without its scale."""
        return self.tensor(Term(1.0, a.of))

    def tensor(self, a: Any, node: Any = None) -> Value:
        """Whatever a node became, as a tensor, computed once."""
        if isinstance(a, Mask):
            return self.emit("ne", [a.of, 0.0], (), Like(torch.bool, a.of.extent))
        if not isinstance(a, Term):
            return self.box(a, node.meta["val"].dtype)
        if a.scale == 1.0 and isinstance(a.of, Value):
            return a.of
        if a not in self.computed:
            if isinstance(a.of, Product):
                x = self.emit(a.of.name, [a.of.left, a.of.right], (), a.of)
                self.computed[Term(1.0, a.of)] = x
                return self.tensor(Term(a.scale, x))
            self.computed[a] = self.emit("mul", [a.of, a.scale], (), a.of)
        return self.computed[a]

    def box(self, number: Factor | bool, dtype: torch.dtype) -> Value:
        """A host number as a 0-D tensor."""
        for box, content in self.fused.boxes.items():
            if content == (number, dtype):
                return box
        box = self.value(Like(dtype, SCALAR))
        self.fused.boxes[box] = (number, dtype)
        return box


def wider(*values: Any) -> Any:
    """The one that extends furthest."""
    return max(values, key=lambda value: value.extent)
