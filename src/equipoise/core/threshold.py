"""The threshold that the largest share of many numbers reach: exact, digit by digit of their binary form.

Symbols    n numbers; keep in (0, 1]; k = floor(keep n), at least 1.
Rule       a number becomes the integer that stands in the same order; of these, 16 bits at a time from the top, a
           histogram counts those that agree with the digits found so far; the next digit is that in which the k-th
           largest lies                                                                                         (1)
Cost       passes over the numbers: two for float32, four for float64. 65,536 counts, and one piece of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_DIGIT = 16
_BASE = 1 << _DIGIT
_PIECE = 1 << 18  # what is made of so many numbers fits in a cache

Everywhere = Callable[[Tensor], Tensor]


def threshold(
    values: Callable[[], Iterable[Tensor]],
    keep: float,
    dtype: torch.dtype,
    everywhere: Everywhere = lambda counts: counts,
) -> Tensor:
    """Equation (1), 0-D in that dtype.

    Args:
        values: the numbers, of any shapes, gone through once per pass; each tensor is done with before the next comes.
        keep: the share.
        dtype: of the numbers, float64 or what float32 holds.
        everywhere: from this process's counts to those of all processes.
    """
    kind, width = (torch.int64, 64) if dtype == torch.float64 else (torch.int32, 32)
    found, left = -1, 0  # the digits found so far, in one integer: none yet, where every sign agrees
    for shift in range(width - _DIGIT, -1, -_DIGIT):
        low = found * _BASE if left else -_BASE // 2
        counts = everywhere(_histogram(values(), kind, shift, low)).flip(0).cumsum(0)
        left = left or kept(int(counts[-1]), keep)
        place = int(torch.searchsorted(counts, torch.tensor(left, device=counts.device)))
        left -= int(counts[place - 1]) if place else 0
        found = low + _BASE - 1 - place
    whole = torch.tensor(found, dtype=kind, device=counts.device)
    return _ordered(whole).view(torch.float64 if kind == torch.int64 else torch.float32).to(dtype)


def kept(numel: int, share: float) -> int:
    """How many of `numel` numbers a share is: floor(share n), at least one."""
    return min(max(int(share * (1 + 1e-7) * numel), 1), numel)


def passes(dtype: torch.dtype) -> list[int]:
    """How many counts every pass over numbers of that dtype takes from all processes."""
    return [_BASE] * ((64 if dtype == torch.float64 else 32) // _DIGIT)


def _histogram(values: Iterable[Tensor], kind: torch.dtype, shift: int, low: int) -> Tensor:
    """Of the numbers whose leading digits are low to low + 65,535, how many have each."""
    bound = torch.iinfo(kind)
    under, over = max(low - 1, bound.min), min(low + _BASE, bound.max)
    counts = None
    for value in values:
        for piece in value.reshape(-1).split(_PIECE):
            leading = _ordered(_wide(piece, kind)).bitwise_right_shift_(shift)
            own = torch.bincount(leading.clamp_(under, over).sub_(under), minlength=_BASE + 2)
            counts = own if counts is None else counts.add_(own.to(counts.device))
    whole = torch.zeros(_BASE + 2, dtype=torch.int64) if counts is None else counts
    return whole[low - under : low - under + _BASE]


def _wide(piece: Tensor, kind: torch.dtype) -> Tensor:
    return piece.to(torch.float64 if kind == torch.int64 else torch.float32).contiguous().view(kind)


def _ordered(bits: Tensor) -> Tensor:
    """From the bits of floats to integers in the same order, and back."""
    largest = torch.iinfo(bits.dtype).max
    return bits.bitwise_right_shift(bits.element_size() * 8 - 1).bitwise_and_(largest).bitwise_xor_(bits)
