"""Lockstep: at a barrier every engine waits until the answer that needs them all is there.

Engines wait at reductions over all parameters, at matrix stages and, where parameters are spread over processes, at
whatever needs the other processes. Each round answers the waits that come first: kernels to be launched, then matrices
that are here, then what one parameter asks for, then what all ask for, then the leave to write. So every process makes
the same rounds, whichever runner has which tensor there. Where what is left of a step is launches, with sums in between
that this process knows, it is one round.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import torch
from torch import Tensor

from equipoise._errors import ArgumentError
from equipoise.core.chain import Chain
from equipoise.core.driver import Launch, launch, relay
from equipoise.core.matrices import solve_tensors
from equipoise.core.stage import Stage
from equipoise.core.threshold import threshold


@dataclass(frozen=True)
class Share:
    """One engine's part of a reduction: one entry per member, in the order of `Wait.members`.

    `values`: for "sum" and "max" partial results, 0-D or one 1-D tensor of all, at level "row" one number per row; for
    "whole" all values.
    `again` and `share` go with "top": all values, to be gone through several times, each of them only until the next;
    and the share of them at or above the threshold, one number per tensor, all the same.
    `by_row` marks sums over numbers that every process with the same rows has. `total` reads what all `values` come to,
    float64, where that is known.
    """

    kind: str
    values: Sequence[Tensor] | Tensor = ()
    again: Iterable[Tensor] = ()
    share: Sequence[float] = (1.0,)
    by_row: bool = False
    total: Callable[[], float] | None = None


@dataclass(frozen=True)
class Wait:
    """An engine stands at the stage at `index` of a chain and waits, for `members`, for the reduced or solved values.

    Args:
        chain, index: the stage.
        members: entries of the optimizer.
        parts: name -> share of this engine.
        spread: whether other processes have a part in the answer.
        rows: coefficients of each member, float64 [members, width] on the CPU; views: how matrices lie in each;
            free: free state of each by flat key. Of matrix stages.
        dtype: in which the members' steps are computed.
    """

    chain: Chain
    index: int
    members: Sequence[int]
    parts: Mapping[str, Share]
    spread: bool = False
    rows: Tensor | None = None
    views: Sequence[str] = ()
    free: Sequence[Mapping[str, Tensor]] = ()
    dtype: torch.dtype = torch.float32

    @property
    def stage(self) -> Stage:
        """The stage that asks."""
        return self.chain.stages[self.index]

    @property
    def level(self) -> str:
        """The level of the stage."""
        return self.stage.reduction

    def only(self, places: Sequence[int]) -> Wait:
        """The same for some of the members of a matrix stage, by their places in `members`."""
        shares = {name: replace(part, values=[part.values[k] for k in places]) for name, part in self.parts.items()}
        return replace(
            self, members=[self.members[k] for k in places], parts=shares, views=[self.views[k] for k in places],
            free=[self.free[k] for k in places], rows=None if self.rows is None else self.rows[list(places)],
        )  # fmt: skip

    @property
    def turn(self) -> int:
        """Who is answered first: see the module text."""
        if self.level == "global":
            return 2
        return 1 if self.spread else 0


@dataclass(frozen=True)
class Ready:
    """An engine has everything and waits for the others before it writes."""

    turn: int = 3


# name -> what each member gets: 0-D for a global reduction, else one entry per member.
Answer = dict[str, "Tensor | Sequence[Tensor]"]
RELAYED: Answer = {"": ()}  # to a launch: everything that follows on it has been done
Stop = Wait | Ready | Launch
Engine = Generator[Stop, "Answer | None", None]
Answers = Callable[[Sequence[Wait]], Sequence[Answer]]


def run_together(engines: Sequence[Engine], elsewhere: Answers | None = None) -> None:
    """Run all engines to their ends.

    Args:
        engines: one for each batch or tensor.
        elsewhere: answers waits that other processes have a part in; None when there are none.
    """
    standing: dict[int, Stop] = {}
    replies: dict[int, Answer | None] = dict.fromkeys(range(len(engines)))
    while True:
        for i, reply in replies.items():
            wait = _to_next_stop(engines[i], reply)
            if wait is not None:
                standing[i] = wait
        if not standing:
            return
        first = min(wait.turn for wait in standing.values())
        now = {i: wait for i, wait in standing.items() if wait.turn == first}
        if elsewhere is None and _relayed(now, standing):
            replies = {i: RELAYED if i in now else None for i in standing}
            standing.clear()
            continue
        replies = dict(zip(now, answers([*now.values()], elsewhere), strict=True))
        for i in now:
            del standing[i]


def _relayed(now: Mapping[int, Stop], standing: Mapping[int, Stop]) -> bool:
    """Whether the rest of the step could be done at once: all ask for numbers before their last calls, or wait to make
    them."""
    first = [one for one in now.values() if isinstance(one, Launch) and one.then is not None]
    others = [one for i, one in standing.items() if i not in now and isinstance(one, Launch)]
    return len(first) == len(now) and len(first) + len(others) == len(standing) and relay(first, others)


def _to_next_stop(engine: Engine, reply: Answer | None) -> Stop | None:
    try:
        return engine.send(reply)  # type: ignore[arg-type]
    except StopIteration:
        return None


def answers(now: Sequence[Stop], elsewhere: Answers | None) -> Sequence[Answer | None]:
    """The answer to each of one round's waits."""
    waits = [wait for wait in now if isinstance(wait, Wait)]
    if not waits:
        if launches := [one for one in now if isinstance(one, Launch)]:
            launch(launches)
        return [None] * len(now)
    if elsewhere is not None and waits[0].turn > 0:
        return elsewhere(waits)
    return solve_here(waits) if waits[0].level == "matrix" else _reduce_here(waits)


def _reduce_here(waits: Sequence[Wait]) -> list[Answer]:
    """Those that wait at the same stage share one reduction."""
    together = grouped(waits)
    found: dict[object, Answer] = {
        key: {name: combine([wait.parts[name] for wait in group], widest(group)) for name in group[0].parts}
        for key, group in together.items()
    }
    return [found[wait.stage.key] for wait in waits]


def widest(waits: Sequence[Wait]) -> torch.dtype:
    """The dtype that holds what all of them compute."""
    return reduce(torch.promote_types, (wait.dtype for wait in waits))


def grouped(waits: Sequence[Wait]) -> dict[object, list[Wait]]:
    """Waits by their stage."""
    together: dict[object, list[Wait]] = {}
    for wait in waits:
        together.setdefault(wait.stage.key, []).append(wait)
    return together


def solve_here(waits: Sequence[Wait]) -> list[Answer]:
    """Solve all matrices of one shape together."""
    found: dict[tuple[object, int], dict[str, Tensor]] = {}
    for key, group in grouped(waits).items():
        tensors = {
            m: {n: part.values[k] for n, part in w.parts.items()} for w in group for k, m in enumerate(w.members)
        }
        views = {m: view for w in group for m, view in zip(w.members, w.views, strict=True)}
        free = {m: free_of(w, k) for w in group for k, m in enumerate(w.members)}
        coefs = {m: coefs_of_stage(w, k) for w in group for k, m in enumerate(w.members)}
        solved = solve_tensors(group[0].stage, tensors, views, free, coefs)
        found |= {(key, m): results for m, results in solved.items()}
    return [_by_name([found[wait.stage.key, m] for m in wait.members]) for wait in waits]


def free_of(wait: Wait, k: int) -> dict[str, Tensor]:
    """The free state of the k-th member under the names that the stage knows."""
    part = wait.chain.parts[wait.index].name
    keys = {spec.name: key for own, key, spec in wait.chain.state_keys() if own == part and spec.shape == "free"}
    return {name: wait.free[k][key] for name, key in keys.items()}


def coefs_of_stage(wait: Wait, k: int) -> dict[str, Tensor]:
    """The stage's coefficients for the k-th member, 0-D, in the dtype that its step is computed in."""
    assert wait.rows is not None
    names = wait.chain.coef_names()
    return {name: wait.rows[k, 1 + j].to(wait.dtype) for j, (i, name) in enumerate(names) if i == wait.index}


def _by_name(results: Sequence[Mapping[str, Tensor]]) -> Answer:
    return {name: [own[name] for own in results] for name in results[0]}


def combine(shares: Sequence[Share], dtype: torch.dtype) -> Tensor:
    """The reduced value, 0-D, float64 for sums. `dtype`: in which the values of a threshold are computed."""
    if shares[0].kind == "top":
        keep = agreed([s for own in shares for s in own.share])
        return threshold(lambda: (value for share in shares for value in share.again), keep, dtype)
    summed = shares[0].kind == "sum"
    known = [own.total() for own in shares if own.total is not None]
    if summed and len(known) == len(shares):  # in the order of `driver.relay`, bit for bit
        return torch.tensor(reduce(add, known), dtype=torch.float64)
    found = [own.sum() if summed else own.amax() for own in map(column, shares)]
    first = found[0].device
    return reduce(torch.add if summed else torch.maximum, (x if x.device == first else x.to(first) for x in found))


def column(share: Share) -> Tensor:
    """Partial results of all members, float64 [members]."""
    values = share.values
    joined = values if isinstance(values, Tensor) else torch.stack([value.to(values[0].device) for value in values])
    return joined if joined.dtype == torch.float64 else joined.double()


def agreed(shares: Sequence[float]) -> float:
    """The one share that all tensors ask for.

    Raises:
        ArgumentError: they differ.
    """
    if min(shares) != max(shares):
        cure = "Give all groups the same value: one threshold serves all tensors."
        raise ArgumentError("share of values to keep", sorted(set(shares)), "one number for all tensors", cure)
    return shares[0]
