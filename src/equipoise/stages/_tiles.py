"""Blocks of a matrix, each preconditioned on its own, and square state for both sides of every block.

State is [matrices, blocks, n, n], n the longest extent of a block: ceil(extent / blocks along it). A side longer than
the group key max_dim is not cut and has no state, [matrices, blocks, 0, 0]; block_size None cuts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from torch import Generator, Tensor


def left_tiles(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    """Zeros for the rows of every block."""
    return _squares(shape, 1, hyper)


def right_tiles(shape: tuple[int, ...], hyper: SimpleNamespace, generator: Generator) -> Tensor:
    """Zeros for the columns of every block."""
    return _squares(shape, 2, hyper)


def tiles(x: Tensor, left: Sequence[Tensor], right: Sequence[Tensor]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Every block of x [matrices, rows, columns], a view, and of each square in `left` and `right` what belongs to it:
    views [matrices, n, n], or [matrices, 0, 0]."""
    down, across = left[0].shape[-1] or x.shape[-2], right[0].shape[-1] or x.shape[-1]
    parts = [part for rows in x.split(max(down, 1), -2) for part in rows.split(max(across, 1), -1)]
    for k, part in enumerate(parts):
        own = [square[:, k, : part.shape[-2], : part.shape[-2]] for square in left]
        yield part, own + [square[:, k, : part.shape[-1], : part.shape[-1]] for square in right]


def _squares(shape: tuple[int, ...], axis: int, hyper: SimpleNamespace) -> Tensor:
    extents = [_extent(length, hyper) for length in shape[1:]]
    count = 1
    for length, extent in zip(shape[1:], extents, strict=True):
        count *= -(-length // max(extent, 1))
    n = extents[axis - 1] if shape[axis] <= hyper.max_dim else 0
    return torch.zeros(shape[0], count, n, n)


def _extent(length: int, hyper: SimpleNamespace) -> int:
    """The longest extent of a block of a side."""
    if hyper.block_size is None or not hyper.block_size < length <= hyper.max_dim:
        return length
    return -(-length // -(-length // round(hyper.block_size)))
