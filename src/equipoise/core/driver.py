"""Drive: call a compiled kernel for many parts of tensors, from C++ and on all threads.

What a kernel is called with is an array of integers, made once per plan; what changes from step to step (where
gradients are, the table of coefficients) is added as it runs. So a step costs no Python per tensor.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.core.native import library

SCRATCH = -1  # a reference to the memory that each thread has for itself


class Calls:
    """Calls of one graph's kernels, for many items: for each argument of each call a number and a reference to a base.

    Args:
        functions: addresses of the graph's kernels, in the order in which they run; counts: arguments of each.
        args, refs: int64 and int32 [items, sum of counts]: an argument is its number plus the base referred to.
        scratch: bytes that one thread needs for itself.
        alone: whether kernels use all threads by themselves, so that items run one after the other.
    """

    def __init__(
        self, functions: Sequence[int], counts: Sequence[int], args: Tensor, refs: Tensor, scratch: int, *, alone: bool
    ) -> None:  # fmt: skip
        self.args, self.refs, self.alone, self.bytes = args, refs, alone, scratch
        self.functions = torch.tensor(functions, dtype=torch.int64)
        self.counts = torch.tensor(counts, dtype=torch.int64)
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.at, self.count = (args.data_ptr(), refs.data_ptr()), len(args)
        self.fixed = (len(functions), self.functions.data_ptr(), self.counts.data_ptr(), args.shape[1])

    def program(self, bases: array[int], only: range | None, threads: int) -> tuple[int, ...]:
        """What C++ is told: for all items, or for some."""
        first, items = (0, self.count) if only is None else (only.start, len(only))
        if self.memory.numel() < self.bytes * threads:
            self.memory = torch.empty(self.bytes * threads, dtype=torch.uint8)
        args, refs = (at + first * self.fixed[-1] * size for at, size in zip(self.at, (8, 4), strict=True))
        return (*self.fixed, items, args, refs, bases.buffer_info()[0], self.memory.data_ptr(), self.bytes)


@dataclass(frozen=True, eq=False)
class Launch:
    """Calls that are to be made, for all items or for some. `bases[0]` must be 0."""

    calls: Calls
    bases: array[int]
    only: range | None = None
    turn: int = -1  # before everything that waits for an answer: see `lockstep`
    then: Relay | None = None

    @property
    def items(self) -> int:
        """How many items it is for."""
        return self.calls.count if self.only is None else len(self.only)


@dataclass(frozen=True, eq=False)
class Relay:
    """What follows on calls whose numbers all tensors are asked for: their answer, and the last calls.

    `key`: of the question; the numbers of all who ask the same are joined. `question`: see `native.Joined`. `table`:
    address and pitch of the columns that are told.
    """

    key: object
    question: array[int]
    table: tuple[int, int]
    last: Launch


def launch(many: Sequence[Launch]) -> None:
    """Make all the calls: threads that have no more to do for one graph go on with the next; none is woken in vain."""
    shared = [one for one in many if not one.calls.alone]
    for own in [[one] for one in many if one.calls.alone] + [shared]:
        if own:
            programs, threads = _programs(own)
            library().drive(len(own), programs.buffer_info()[0], threads)


def relay(first: Sequence[Launch], others: Sequence[Launch]) -> bool:
    """Make all the calls, answer what they ask, and make the last calls and those of others, without Python in between.

    Returns:
        Whether it was done: everything that is asked must be such that it can be.
    """
    legs = [one.then for one in first if one.then is not None]
    last = [leg.last for leg in legs] + [*others]
    if not legs or len(legs) < len(first) or any(one.calls.alone for one in (*first, *last)):
        return False
    asked, keys = array("q"), list[object]()
    for leg in legs:
        if leg.key not in keys:
            keys.append(leg.key)
        asked.extend((*leg.question, keys.index(leg.key), *leg.table))
    (now, threads), (then, more) = _programs(first), _programs(last)
    places = [own.buffer_info()[0] for own in (now, asked, then)]
    library().relay(len(first), places[0], threads, len(legs), places[1], len(last), places[2], more)
    return True


def _programs(many: Sequence[Launch]) -> tuple[array[int], int]:
    """What C++ is told, and the number of threads."""
    threads = 1 if many[0].calls.alone else min(torch.get_num_threads(), sum(one.items for one in many))
    programs = array("q")
    for one in many:
        programs.extend(one.calls.program(one.bases, one.only, threads))
    return programs, threads
