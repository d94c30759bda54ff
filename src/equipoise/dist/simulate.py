"""What a sharded step sends on a mesh of any size, worked out without a process.

The plan is the engine's own: who holds what (`pieces`), who owns which matrix (`owners`), in which rounds stages are
answered (`core.lockstep`), how sums travel (`reduce`), what each stage asks for (`asked`). Only sending is left out.

Cost       Seconds for a trillion parameters on 16,384 ranks: parameters that have everything in common are counted
           once, and along each axis of a tensor the parts are made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from equipoise.core.lockstep import Engine, Wait, grouped, run_together, widest
from equipoise.core.threshold import passes
from equipoise.dist.asked import Asked, asked_by
from equipoise.dist.laid import Kind, Laid, kinds_of
from equipoise.dist.layout import together
from equipoise.dist.reduce import ways
from equipoise.dist.travel import Matrices
from equipoise.dist.wire import Sent, purpose_of

_NUMBER = 8  # bytes of a number in a reduction: float64, or int64 in histograms


@dataclass(frozen=True)
class Collective:
    """One collective of a step: `bytes` is a grid of what each rank gives, -1 where a rank has no part in it."""

    kind: str
    purpose: str
    ranks: int
    bytes: Tensor


def sent_by(rank: int, sent: Sequence[Collective], mesh: tuple[int, ...]) -> list[Sent]:
    """What one rank's `optimizer.links.sent` would be."""
    given = [(one, int(one.bytes.expand(mesh).flatten()[rank])) for one in sent]
    return [Sent(one.kind, one.purpose, one.ranks, nbytes) for one, nbytes in given if nbytes >= 0]


class Simulation:
    """The collectives of one step.

    Args:
        laid: all parameters of an optimizer, in its order.
        mesh: processes along each axis; ranks count along the last axis first.
    """

    def __init__(self, laid: Sequence[Laid], mesh: Sequence[int]) -> None:
        self.mesh, self.sent = tuple(mesh), list[Collective]()
        self.kinds = kinds_of(laid, self.mesh)
        self.of = {m: kind for kind in self.kinds for m in kind.members}
        cut = [kind for kind in self.kinds if kind.axes]
        everyone = frozenset(range(len(self.mesh)))
        self.circle = self.size(together([frozenset(kind.axes) for kind in cut], everyone)) if cut else 1
        self.asked = {id(kind): self._asked(kind) for kind in self.kinds} if cut else {}
        self.exchanges = self._exchanges(cut)
        if cut:
            engines = [self._engine(kind) for kind in self.kinds]
            run_together(engines, self.answer)

    def size(self, axes: frozenset[int]) -> int:
        """Ranks along some axes of the mesh."""
        product = 1
        for axis in axes:
            product *= self.mesh[axis]
        return product

    def _asked(self, kind: Kind) -> list[Asked]:
        entry, p = kind.entry, kind.entry.parameter
        if p.numel() == 0:
            return []
        return asked_by(entry.chain, entry.apart, p.dtype, p.ndim, kind.laid.hyper)

    def _exchanges(self, cut: Sequence[Kind]) -> dict[frozenset[int], Matrices]:
        groups: dict[frozenset[int], list[Kind]] = {}
        for kind in sorted(cut, key=lambda kind: kind.members[0]):
            if "matrix" in kind.entry.apart:
                groups.setdefault(frozenset(kind.axes), []).append(kind)
        return {axes: Matrices(own, self.size(axes)) for axes, own in groups.items()}

    def _engine(self, kind: Kind) -> Engine:
        for one in self.asked[id(kind)]:
            yield replace(one.wait, members=kind.members)

    def _of(self, wait: Wait) -> Asked:
        kind = self.of[wait.members[0]]
        return next(one for one in self.asked[id(kind)] if one.wait.index == wait.index)

    def answer(self, waits: Sequence[Wait]) -> list[dict[str, Any]]:
        """One round, as `links.Processes.answer` makes it; the answers themselves nobody reads."""
        if waits[0].level == "global":
            self._globally(waits)
        else:
            of = {level: [wait for wait in waits if wait.level == level] for level in ("tensor", "row", "matrix")}
            self._tensors(of["tensor"])
            self._rows(of["row"])
            for axes, exchange in self.exchanges.items():
                own = [w for w in of["matrix"] if frozenset(self.of[w.members[0]].axes) == axes]
                for group in sorted(grouped(own).values(), key=lambda group: min(w.members[0] for w in group)):
                    self._matrices(exchange, axes, group)
        return [{} for _ in waits]

    def _add(self, kind: str, waits: Sequence[Wait], ranks: int, nbytes: Tensor) -> None:
        self.sent.append(Collective(kind, purpose_of(waits), ranks, nbytes))

    def _reduce(self, sums: int, maxima: int, waits: Sequence[Wait]) -> None:
        for kind, numbers in ways(sums, maxima, self.circle):
            self._add(kind, waits, self.circle, torch.full((1,) * len(self.mesh), _NUMBER * numbers))

    def _tensors(self, waits: Sequence[Wait]) -> None:
        sums, maxima = (sum(len(w.members) * _count(w, kind) for w in waits) for kind in ("sum", "max"))
        self._reduce(sums, maxima, waits)

    def _rows(self, waits: Sequence[Wait]) -> None:
        by_columns: dict[frozenset[int], list[Wait]] = {}
        for wait in waits:
            across = frozenset(d for d, axis in self.of[wait.members[0]].axes.items() if axis > 0)
            by_columns.setdefault(across, []).append(wait)
        for across, group in by_columns.items():
            flat = [self._row_numbers(group, kind) for kind in ("sum", "max")]
            pairs = torch.stack([*torch.broadcast_tensors(*flat)], -1)
            for sums, maxima in torch.unique(pairs.reshape(-1, 2), dim=0).tolist():
                here = (pairs == torch.tensor([sums, maxima])).all(-1)
                for kind, numbers in ways(sums, maxima, self.size(across)):
                    self._add(kind, group, self.size(across), torch.where(here, _NUMBER * numbers, -1))

    def _row_numbers(self, waits: Sequence[Wait], kind: str) -> Tensor:
        none = torch.zeros((1,) * len(self.mesh), dtype=torch.int64)
        own = [len(w.members) * _count(w, kind) * self.of[w.members[0]].extent(0) for w in waits]
        return sum(own, none)

    def _matrices(self, exchange: Matrices, axes: frozenset[int], waits: Sequence[Wait]) -> None:
        shape = [n if d in axes else 1 for d, n in enumerate(self.mesh)]
        out = self._of(waits[0]).results
        given = {m: _size(self._of(wait).given) for wait in waits for m in wait.members}
        there, back = exchange.travel(given, _size(out))
        for nbytes in (there, back):
            self._add("all-to-all", waits, self.size(axes), nbytes.view(shape))

    def _globally(self, waits: Sequence[Wait]) -> None:
        groups = sorted(grouped(waits).values(), key=lambda group: min(m for w in group for m in w.members))
        for group in groups:
            for part in group[0].parts.values():
                if part.kind == "top":
                    for numbers in passes(widest(group)):
                        self._add(
                            "all-reduce", group, self.circle, torch.full((1,) * len(self.mesh), _NUMBER * numbers)
                        )
        sums, maxima = (sum(_count(group[0], kind) for group in groups) for kind in ("sum", "max"))
        self._reduce(sums, maxima, waits)


def _count(wait: Wait, kind: str) -> int:
    return sum(part.kind == kind for part in wait.parts.values())


def _size(dtypes: Mapping[str, torch.dtype]) -> int:
    return sum(dtype.itemsize for dtype in dtypes.values())
