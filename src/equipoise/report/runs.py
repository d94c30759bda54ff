"""The runs a page is about: open stores with a label, an arm (its colour) and a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from equipoise._errors import ArgumentError
from equipoise.doctor.store import RunStore
from equipoise.report.comparison import Comparison
from equipoise.report.thin import Series


@dataclass(frozen=True)
class Run:
    """One run of the page.

    Attributes:
        path: the run folder.
        label: what legends and tables call it.
        arm: index of its arm; runs of one arm differ in their seed only and share a colour.
        arm_label: what the arm is called.
        first: whether it stands for its arm where the page shows one run per arm.
        store: its numbers.
        meta: its facts.
    """

    path: Path
    label: str
    arm: int
    arm_label: str
    first: bool
    store: RunStore
    meta: dict[str, object]
    _tables: dict[str, dict[str, Series]] = field(default_factory=dict, repr=False, compare=False)

    def table(self, metric: str) -> dict[str, Series]:
        """All curves of a metric, tensor -> (steps, values); read once, since several charts ask for it."""
        if metric not in self._tables:
            self._tables[metric] = self.store.table(metric)
        return self._tables[metric]

    @property
    def steps(self) -> int:
        """Last step that has any number."""
        return self.store.last_step()


@dataclass(frozen=True)
class _Place:
    arm: int
    arm_label: str
    position: int


def as_paths(runs: str | Path | Sequence[str | Path]) -> list[Path]:
    """The run folders given as one path or several; none given twice.

    Raises:
        ArgumentError: none given.
    """
    given = [runs] if isinstance(runs, str | Path) else list(runs)
    unique = {Path(p).resolve(): Path(p) for p in given}
    if not unique:
        raise ArgumentError("runs", runs, "at least one run folder", "Give the run_dir= of a watched training run.")
    return list(unique.values())


def open_runs(paths: Iterable[Path], comparison: Comparison | None, stack: ExitStack) -> list[Run]:
    """Open every run's store; `stack` closes them.

    Raises:
        RunError: a folder holds no readable run.
    """
    stores = [(path, stack.enter_context(RunStore.open(path))) for path in paths]
    places = _places_by_path(comparison)
    arms = _Arms([arm.label for arm in comparison.arms] if comparison else [])
    runs: list[Run] = []
    for path, store in stores:
        meta = store.meta
        place = places.get(path.resolve())
        runs.append(_run(path, store, meta, place) if place else arms.run_of_its_own(path, store, meta))
    return _marked(runs)


def _places_by_path(comparison: Comparison | None) -> dict[Path, _Place]:
    if comparison is None:
        return {}
    arms = enumerate(comparison.arms)
    return {p.resolve(): _Place(i, arm.label, k) for i, arm in arms for k, p in enumerate(arm.runs)}


def _run(path: Path, store: RunStore, meta: dict[str, object], place: _Place) -> Run:
    seed = meta.get("seed", place.position)
    return Run(path, f"{place.arm_label}, seed {seed}", place.arm, place.arm_label, False, store, meta)


class _Arms:
    """Gives runs outside of any comparison an arm each, and labels that differ."""

    def __init__(self, taken: list[str]) -> None:
        self._labels = list(taken)

    def run_of_its_own(self, path: Path, store: RunStore, meta: dict[str, object]) -> Run:
        name = _name(path, meta)
        same = sum(1 for used in self._labels if used == name or used.startswith(f"{name} ("))
        label = f"{name} ({same + 1})" if same else name
        self._labels.append(label)
        return Run(path, label, len(self._labels) - 1, label, False, store, meta)


def _name(path: Path, meta: dict[str, object]) -> str:
    for key in ("label", "name", "recipe"):
        value = meta.get(key)
        if isinstance(value, dict):
            value = value.get("label") or value.get("name")
        if isinstance(value, str) and value.strip():
            return value
    return path.resolve().name or str(path)


def _marked(runs: list[Run]) -> list[Run]:
    seen: set[int] = set()
    marked: list[Run] = []
    for run in sorted(runs, key=lambda r: r.arm):
        marked.append(Run(run.path, run.label, run.arm, run.arm_label, run.arm not in seen, run.store, run.meta))
        seen.add(run.arm)
    return marked
