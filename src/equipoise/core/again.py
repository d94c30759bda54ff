"""Values of all tensors that are looked at several times: computed anew each time, a few tensors at a time.

A threshold over all parameters needs all its values; kept at once, they would take as much memory as the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

_AT_ONCE = 1 << 20  # elements: enough for all threads, and no more than a large tensor has


@dataclass(frozen=True, eq=False)
class Again:
    """One value of each tensor, in their order. What was handed out holds until the next is asked for.

    Args:
        compute: fills the views of some tensors.
        runs: which tensors are computed together.
        views: where the values of each tensor go; runs share memory.
    """

    compute: Callable[[range], object]
    runs: Sequence[range]
    views: Sequence[Tensor]

    def __iter__(self) -> Iterator[Tensor]:
        for run in self.runs:
            self.compute(run)
            yield from self.views[run.start : run.stop]


def runs_of(numels: Sequence[int], length: int) -> list[range]:
    """Runs of tensors, in whole lists of `length`, that are small or as short as possible."""
    runs, start, held = [], 0, 0
    for at in range(0, len(numels), length):
        own = sum(numels[at : at + length])
        if held and held + own > _AT_ONCE:
            runs.append(range(start, at))
            start, held = at, 0
        held += own
    return [*runs, range(start, len(numels))]
