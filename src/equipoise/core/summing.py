"""Rules of fusion for sums and maxima: over a row they are values, over a whole tensor numbers that the host learns.

A product that is summed over a tensor is not computed: it is a dot product. Slices give parts, which the host puts
together in float64. Where every row of a slice is a tensor of its own, sums over a tensor are sums over a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from equipoise.core.builder import Builder, Like
from equipoise.core.terms import FULL, ROW, SCALAR, Mask, Number, Product, Term, Value


def row_length(x: Tensor, *, out: Tensor) -> Tensor:
    """The 2-norm of each row, without a tensor of squares."""
    return torch.linalg.vector_norm(x, 2, 1, True, out=out)


REDUCED = {"sum": "sum", "amax": "max"}


class Summing(Builder):
    """Sums and maxima. `sizes`: the numbers that tell elements, and elements of a row, of a whole tensor."""

    sizes: tuple[Number, Number]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by_row: dict[tuple[str, Value | Product], Value | Product] = {}

    def reduced(self, name: str, node: Node, args: Sequence[Any]) -> Any:
        """The sum or maximum of what the node reduces."""
        a, over_rows = args[0], len(args) == 1
        of: Tensor = node.args[0].meta["val"]  # type: ignore[union-attr]
        if isinstance(a, Mask):
            a = Term(1.0, a.of)
        if not isinstance(a, Term):
            return self._of_constant(name, a, of, over_rows)
        if name == "amax" and a.scale != 1.0:
            a = Term(1.0, self.tensor(a))
        if not over_rows or self.stacked:
            return self._over_row(name, a)
        parts = self._dotted(a.of) if name == "sum" and isinstance(a.of, Product) else None
        parts = self.emit(name, [self.bare(a)], (), Like(a.of.dtype, SCALAR)) if parts is None else parts
        number = self.fused.tape.late(parts, REDUCED[name])
        return self.by(a.scale, number)

    def size(self, node: Node, name: str, args: Sequence[Any]) -> Any:
        """A size of a whole tensor: what is traced is a slice, or a stack."""
        of: Tensor = node.args[0].meta["val"]  # type: ignore[union-attr]
        count, per_row = self.sizes
        if name == "sym_numel" or of.ndim == 1:
            return count
        return per_row if args[1] == 1 else self.over(count, per_row)

    def _of_constant(self, name: str, a: Any, of: Tensor, over_rows: bool) -> Any:
        if name == "amax" or of.ndim == 0:
            return a
        count, per_row = self.sizes
        by_row = self.extent_of(of) == ROW
        if not over_rows:
            return a if by_row else self.by(a, per_row)
        return self.by(a, self.over(count, per_row) if by_row else count)

    def _over_row(self, name: str, a: Term) -> Term:
        if a.of.extent < FULL:
            return a
        key = name, a.of
        if key not in self.by_row:
            self.by_row[key] = self._row_of(name, a.of, Like(a.of.dtype, ROW))
        return Term(a.scale, self.by_row[key])

    def _row_of(self, name: str, of: Value | Product, like: Like) -> Value | Product:
        if isinstance(of, Product) and of.name == "mul" and of.left == of.right and name == "sum":
            length = self.emit("row_length", [of.left], (), like, row_length)
            return Product("mul", length, length)
        return self.emit(name, [self.bare(Term(1.0, of)), [1], True], (), like)

    def _dotted(self, product: Product) -> Value | None:
        if product.name != "mul" or product.mixed or product.extent == SCALAR:
            return None
        return self.emit("dot", [product.left, product.right], (), Like(product.dtype, SCALAR))
