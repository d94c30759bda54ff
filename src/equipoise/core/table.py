"""The table: what kernels are told of each tensor in a step, a row for each, in one memory for all phases and steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equipoise.core.numerics import compute_dtype
from equipoise.core.trace import EXTENT, Layout

SPARE = 16  # columns for answers; more are made when they are needed


class Table:
    """Columns: the learning rate and the coefficients, where a part lies in the whole, then the answers to barriers.

    Views are made once: beside what a step computes, every operation more is felt.

    Args:
        layout: of the tensors.
        count: how many they are; rows: how many there are with those that fill lists.
        extents: rows of `trace.extent_row`, of tensors that are parts.
    """

    def __init__(self, layout: Layout, count: int, rows: int, extents: Sequence[Sequence[float]]) -> None:
        self.count, self.width = count, layout.width
        dtype = compute_dtype(layout.p_dtype)
        self.memory = torch.zeros(rows, self.width + SPARE, dtype=dtype, device=layout.device)
        self.own = self.width - (EXTENT if layout.spread else 0)
        if layout.spread:
            self.memory[:count, self.own : self.width] = torch.tensor(extents, dtype=torch.float64)
        self.views: dict[object, Tensor] = {}

    def begin(self, coefs: Tensor) -> Tensor:
        """The table of the first phase; `coefs` [count or 1, ...], float64 on the host."""
        if "coefs" not in self.views:
            self.views["coefs"] = self.memory[: self.count, : self.own]
        self.views["coefs"].copy_(coefs)
        if len(self.memory) > self.count:
            self.memory[self.count :] = self.memory[self.count - 1]
        return self._upto(self.width)

    def answered(self, values: Sequence[Tensor], width: int) -> Tensor:
        """The table of the next phase, `width` that of the one before: one number for all tensors, or one for each."""
        missing = width + len(values) - self.memory.shape[1]
        if missing > 0:
            self.memory = torch.cat([self.memory, self.memory.new_zeros(len(self.memory), missing)], 1)
            self.views.clear()
        for k, value in enumerate(values, width):
            if k not in self.views:
                self.views[k] = self.memory[: self.count, k]
            self.views[k].copy_(value)
        return self._upto(width + len(values))

    def ahead(self, width: int, answers: int) -> tuple[Tensor, tuple[int, int]] | None:
        """The table with answers that are to come, and where they go: address and pitch. None where it has no room."""
        if width + answers > self.memory.shape[1]:
            return None
        return self._upto(width + answers), (
            self.memory.data_ptr() + width * self.memory.itemsize,
            self.memory.stride(0),
        )

    def _upto(self, width: int) -> Tensor:
        if ("upto", width) not in self.views:
            self.views["upto", width] = self.memory[:, :width]
        return self.views["upto", width]
