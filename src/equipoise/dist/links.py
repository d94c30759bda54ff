"""Links: how the processes of one optimizer answer each other, in one collective per level of reductions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from equipoise.core.entry import Entry
from equipoise.core.lockstep import Answer, Share, Wait, agreed, column, grouped, widest
from equipoise.core.spread import local
from equipoise.core.threshold import threshold
from equipoise.dist.exchange import Exchange
from equipoise.dist.handshake import compare
from equipoise.dist.layout import circle, spread_of
from equipoise.dist.packed import Vector, signature, vectors
from equipoise.dist.reduce import reduced
from equipoise.dist.wire import Sent, Wire, purpose_of


class Processes:
    """Of the parameters that are spread over processes (see `core.spread.Links`).

    Args:
        entries: all parameters of the optimizer; the same, in the same order, on every process.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries, self.wire = list(entries), Wire()
        cut = {i: e.parameter for i, e in enumerate(entries) if e.piece is not None and e.piece.cut}
        self.spreads = {i: spread_of(p) for i, p in cut.items()}
        self.circle = circle(entries, self.spreads)
        self._spoken_for: dict[tuple[tuple[int, ...], bool], Tensor] = {}
        self._vectors: dict[tuple[object, ...], tuple[list[Vector], str]] = {}
        by_ranks: dict[tuple[int, ...], list[int]] = {}
        for i in cut:
            if "matrix" in entries[i].apart:
                by_ranks.setdefault(self.spreads[i].ranks, []).append(i)
        self.exchanges = {ranks: Exchange(entries, own, ranks, self.wire) for ranks, own in by_ranks.items()}

    @property
    def sent(self) -> list[Sent]:
        """The collectives of the last step."""
        return self.wire.sent

    def begin(self, recipe: Mapping[str, object]) -> None:
        """Compare what all processes are about to do.

        Raises:
            ProcessError: they differ; the message names what.
        """
        compare(recipe, self.circle.everyone, self.wire, self._device())

    def begin_step(self) -> None:
        """Forget what the last step sent."""
        self.wire.sent.clear()

    def answer(self, waits: Sequence[Wait]) -> list[Answer]:
        """One round: matrices by one exchange, rows by one sum, everything else by one sum for all."""
        if waits[0].level == "global":
            return self._globally(waits)
        ordered = {id(wait): answer for wait, answer in self._by_tensor(waits)}
        return [ordered[id(wait)] for wait in waits]

    def _by_tensor(self, waits: Sequence[Wait]) -> list[tuple[Wait, Answer]]:
        of = {level: [wait for wait in waits if wait.level == level] for level in ("tensor", "row", "matrix")}
        found = self._tensors(of["tensor"]) + self._rows(of["row"])
        return found + self._matrices(of["matrix"])

    def _matrices(self, waits: Sequence[Wait]) -> list[tuple[Wait, Answer]]:
        """One exchange for each set of processes; a wait may hold matrices of several."""
        values: dict[tuple[int, str], list[Tensor]] = {}
        for ranks, exchange in self.exchanges.items():
            own = [(w, [k for k, m in enumerate(w.members) if self.spreads[m].ranks == ranks]) for w in waits]
            some = {id(part := w.only(places)): (w, places, part) for w, places in own if places}
            for part, answer in exchange.solve([part for _, _, part in some.values()]):
                wait, places, _ = some[id(part)]
                for name, results in answer.items():
                    room = values.setdefault((id(wait), name), [torch.empty(0)] * len(wait.members))
                    for k, result in zip(places, results, strict=True):
                        room[k] = result
        return [(w, {name: own for (key, name), own in values.items() if key == id(w)}) for w in waits]

    # ---- sums over tensors ------------------------------------------------------------------------------------------

    def _tensors(self, waits: Sequence[Wait]) -> list[tuple[Wait, Answer]]:
        if not waits:
            return []
        key, device = signature(waits), self._device()
        if key not in self._vectors:
            self._vectors[key] = vectors(waits, self.circle, device), purpose_of(waits)
        (sums, maxima), purpose = self._vectors[key]
        done = reduced(sums.pack(waits, device), maxima.pack(waits, device), self.wire, self.circle.ranks, purpose)
        answers: list[Answer] = [{} for _ in waits]
        sums.unpack(done[0], answers)
        maxima.unpack(done[1], answers)
        return [(w, {name: own[name] for name in w.parts}) for w, own in zip(waits, answers, strict=True)]

    def _spoken(self, wait: Wait, share: Share) -> Tensor:
        """A column of partial results in which those are silenced that another process speaks for."""
        values = column(share).to(self._device())
        return torch.where(self._speaks(wait, share), values, 0.0 if share.kind == "sum" else -torch.inf)

    def _speaks(self, wait: Wait, share: Share) -> Tensor:
        """For which members this process speaks; made once, so that no step waits for a copy to the device."""
        key = (tuple(wait.members), share.by_row)
        if key not in self._spoken_for:
            own = self.circle.speaks_by_row if share.by_row else self.circle.speaks
            self._spoken_for[key] = torch.tensor([own[m] for m in wait.members], device=self._device())
        return self._spoken_for[key]

    def _sum_slots(self, slots: Sequence[tuple[int, str, str, Tensor]], purpose: str) -> dict[tuple[int, str], Tensor]:
        parts: dict[str, list[Tensor]] = {"sum": [], "max": []}
        where = []
        for m, name, kind, value in slots:
            where.append((m, name, kind, len(parts[kind])))
            parts[kind].append(value)
        sums, maxima = (torch.stack(own) if own else torch.empty(0, dtype=torch.float64) for own in parts.values())
        device = self._device()
        done = dict(
            zip(parts, reduced(sums.to(device), maxima.to(device), self.wire, self.circle.ranks, purpose), strict=True)
        )
        return {(m, name): done[kind][at] for m, name, kind, at in where}

    def _device(self) -> torch.device:
        """Where collectives of this optimizer take place."""
        return next(local(self.entries[i].parameter).device for i in self.spreads)

    # ---- sums over rows ---------------------------------------------------------------------------------------------

    def _rows(self, waits: Sequence[Wait]) -> list[tuple[Wait, Answer]]:
        together: dict[tuple[int, ...], list[Wait]] = {}
        for wait in waits:
            together.setdefault(self.spreads[wait.members[0]].columns, []).append(wait)
        found: list[tuple[Wait, Answer]] = []
        for ranks, group in together.items():
            group.sort(key=lambda wait: wait.members[0])
            flat: dict[str, list[Tensor]] = {"sum": [], "max": []}
            for wait in group:
                for part in wait.parts.values():
                    flat[part.kind].append(part.values[0].to(torch.float64).flatten())
            sums, maxima = (torch.cat(own) if own else torch.empty(0, dtype=torch.float64) for own in flat.values())
            done = dict(zip(flat, reduced(sums, maxima, self.wire, ranks, purpose_of(group)), strict=True))
            at = {"sum": 0, "max": 0}
            for wait in group:
                answer: Answer = {}
                for name, part in wait.parts.items():
                    shape, start = part.values[0].shape, at[part.kind]
                    at[part.kind] += part.values[0].numel()
                    answer[name] = [done[part.kind][start : at[part.kind]].view(shape)]
                found.append((wait, answer))
        return found

    # ---- sums over everything ---------------------------------------------------------------------------------------

    def _globally(self, waits: Sequence[Wait]) -> list[Answer]:
        groups = sorted(grouped(waits).items(), key=lambda item: min(m for w in item[1] for m in w.members))
        slots, found = [], dict[object, dict[str, Tensor]]()
        for at, (key, group) in enumerate(groups):
            found[key] = {}
            for name, part in group[0].parts.items():
                if part.kind == "top":
                    found[key][name] = self._top(group, name)
                else:
                    joined = torch.cat([self._spoken(w, w.parts[name]) for w in group])
                    slots.append((at, name, part.kind, joined.sum() if part.kind == "sum" else joined.amax()))
        values = self._sum_slots(slots, purpose_of(waits)) if slots else {}
        for at, (key, group) in enumerate(groups):
            found[key] |= {name: values[at, name] for name in group[0].parts if (at, name) in values}
        return [{name: found[wait.stage.key][name] for name in wait.parts} for wait in waits]

    def _top(self, group: Sequence[Wait], name: str) -> Tensor:
        share = agreed([s for wait in group for s in wait.parts[name].share])


        def values() -> Iterable[Tensor]:
            for wait in group:
                of_each = zip(wait.members, wait.parts[name].again, strict=True)
                yield from (value for member, value in of_each if self.circle.speaks[member])

        def everywhere(counts: Tensor) -> Tensor:
            return self.wire.all_reduce(counts.to(self._device()), self.circle.ranks, purpose_of(group))

        return threshold(values, share, widest(group), everywhere)

    # ---- the rest ---------------------------------------------------------------------------------------------------

    def sums(self, members: Sequence[int], values: Tensor) -> Tensor:
        """float64 [members, k], summed over all processes, each part counted once."""
        speaks = torch.tensor([self.circle.speaks[m] for m in members])[:, None]
        own = torch.where(speaks, values, 0.0).to(self._device())
        return self.wire.all_reduce(own, self.circle.ranks, "measuring the step").cpu()

    def agree(self, fine: bool) -> bool:
        """Whether it is fine everywhere."""
        bad = torch.tensor(float(not fine), device=self._device())
        return not bool(self.wire.all_reduce(bad, self.circle.everyone, "skip_nonfinite", largest=True))

    def owned(self, member: int) -> list[int]:
        """Which matrices of a tensor this process solves."""
        return self.exchanges[self.spreads[member].ranks].owned(member)

    def gather(self, member: int, own: Tensor) -> Tensor:
        """Free state of all matrices of a tensor, from that of those that each process solves."""
        return self.exchanges[self.spreads[member].ranks].gather(member, own)
