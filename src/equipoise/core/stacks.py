"""Stacks: the matrices of one shape of one compiled batch, solved together.

Many tensors of one shape are stepped a few at a time, so that what is handed to solve, and what comes back, stays small
beside them and in cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equipoise.core.chain import Chain
from equipoise.core.matrices import solve_stack
from equipoise.core.numerics import compute_dtype

# Elements of a part at most and, of the largest shape, at least; and in how many parts that one is stepped at least.
_MOST, _LEAST, _SHARES = 5 << 19, 1 << 16, 4


def parted(sizes: Sequence[int], largest: int) -> list[range]:
    """Runs of tensors of one shape that are stepped one after the other.

    Args:
        sizes: elements of each tensor.
        largest: elements of all tensors of the shape that has most.
    """
    most = max(min(_MOST, largest // _SHARES), _LEAST)
    count = min(-(-sum(sizes) // most), len(sizes)) or 1
    step = max(-(-len(sizes) // count), 1)
    return [range(start, min(start + step, len(sizes))) for start in range(0, len(sizes), step)]


@dataclass
class Scratch:
    """Memory that batches use one after the other: as much as the largest of them needs, kept between steps."""

    held: dict[tuple[str, torch.dtype, torch.device], Tensor] = field(default_factory=dict)

    def take(self, name: str, numel: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A flat tensor of `numel` elements; its values are whatever was there."""
        key = (name, dtype, device)
        if key not in self.held or self.held[key].numel() < numel:
            self.held[key] = torch.empty(numel, dtype=dtype, device=device)
        return self.held[key][:numel]


@dataclass
class Stacks:
    """How matrices lie in the tensors of a batch.

    Args:
        chain: the batch's.
        shape: [rows, columns] of every matrix.
        counts: matrices in each tensor.
        free: (part, name) -> each tensor's free state.
        dtype: of the parameters.
        scratch: where what is handed to solve lies.
    """

    chain: Chain
    shape: tuple[int, int]
    counts: Sequence[int]
    free: Mapping[tuple[str, str], Sequence[Tensor]]
    dtype: torch.dtype
    scratch: Scratch

    def buffer(self, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for a stack; `name` tells apart what is needed at the same time."""
        rows, columns = self.shape
        count = sum(self.counts)
        return self.scratch.take(name, count * rows * columns, dtype, device).view(count, rows, columns)

    def solve(self, index: int, x: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """The results of the stage at `index`, in the dtype they come in; `rows` is [tensors, width] on the CPU."""
        part = self.chain.parts[index]
        state = {spec.name: self.free[part.name, spec.name] for spec in part.stage.state if spec.shape == "free"}
        results = solve_stack(part.stage, x, state, self._coefs(index, rows, next(iter(x.values())).device))
        return {name: value.contiguous() for name, value in results.items()}

    def _coefs(self, index: int, rows: Tensor, device: torch.device) -> dict[str, Tensor]:
        names = {name: 1 + k for k, (i, name) in enumerate(self.chain.coef_names()) if i == index}
        first = min(names.values(), default=0)  # they stand side by side
        columns = rows[:, first : first + len(names)].to(compute_dtype(self.dtype))
        if max(self.counts) != 1:
            columns = columns.repeat_interleave(torch.tensor(list(self.counts)), 0)
        return dict(zip(names, columns.to(device).unbind(1), strict=True))
