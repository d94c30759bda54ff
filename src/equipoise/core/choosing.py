"""Rules of fusion for comparing and choosing: by bits, for a branch for each element is ten times as slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from equipoise.core.builder import Builder, Like, wider
from equipoise.core.terms import INTEGERS, Bits, Mask, Number, Operation, Term, Value

COMPARED = ("ge", "gt", "le", "lt", "eq", "ne")


def chosen(condition: bool, x: Any, y: Any, *, out: Tensor) -> Tensor:
    """x or y, whole, by a number that the host knows."""
    picked = x if condition else y
    return out.copy_(picked) if isinstance(picked, Tensor) else out.fill_(picked)


class Choosing(Builder):
    """x where the mask is 1, y where it is 0: y ^ ((x ^ y) & all ones)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ones: dict[Mask, Value] = {}

    def compare(self, node: Node, name: str, args: Sequence[Any]) -> Mask:
        """A comparison of floats, as 1.0 and 0.0."""
        values = [self.tensor(a, n) if isinstance(n, Node) else a for a, n in zip(args, node.args, strict=True)]
        tensors = [v for v in values if isinstance(v, Value)]
        return Mask(self.emit(name, values, (), wider(*tensors), node.target))

    def _where(self, args: Sequence[Any]) -> Term | None:
        mask, *ends = args
        if isinstance(mask, Number | bool):
            return self._where_known(mask, ends)
        if not isinstance(mask, Mask) or mask.of.dtype not in INTEGERS:
            return None
        x, y = (self.tensor(e) if isinstance(e, Term) else self.box(e, mask.of.dtype) for e in ends)
        ones = self._ones(mask)
        if ends[1] == 0.0:
            return Term(1.0, self.bits("bitwise_and", Bits(x), ones, wider(x, mask.of)))
        differ = self.bits("bitwise_xor", Bits(x), Bits(y), wider(x, y))
        picked = self.bits("bitwise_and", Bits(differ), ones, wider(differ, mask.of))
        return Term(1.0, self.bits("bitwise_xor", Bits(picked), Bits(y), wider(picked, y)))

    def _where_known(self, condition: Any, ends: Sequence[Any]) -> Term:
        """All of x or all of y."""
        terms = [self.tensor(e) if isinstance(e, Term) else e for e in ends]
        like = wider(*[e for e in terms if isinstance(e, Value)])
        return Term(1.0, self.emit("chosen", [condition, *terms], (), like, chosen))

    def _ones(self, mask: Mask) -> Value:
        """Integers with all bits set where the mask is 1, made once."""
        if mask not in self.ones:
            integer = Like(INTEGERS[mask.of.dtype], mask.of.extent)
            self.ones[mask] = self.emit("neg", [self.emit("copy", [mask.of], (), integer)], (), integer)
        return self.ones[mask]

    def _view(self, args: Sequence[Any]) -> Term | None:
        """The same bits as another dtype of the same size: copied, since operations may run in place."""
        if not isinstance(args[1], torch.dtype):
            return None
        x, dtype = self.tensor(args[0]), args[1]
        to_float = dtype.is_floating_point
        out = self.value(Like(dtype, x.extent))
        source = x if to_float else Bits(x)
        self.fused.operations.append(Operation("copy", None, (source,), (), out, bits=to_float))
        return Term(1.0, out)
