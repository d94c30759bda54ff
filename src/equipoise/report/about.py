"""What was run: the facts each store carries, as a table with a column per arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equipoise.report.numbers import count, number, share
from equipoise.report.runs import Run

# Shown elsewhere on the page, or long lists that nobody reads in a table.
_ELSEWHERE = {"predictions", "timescale", "label", "roles", "groups", "silent"}
_FIRST = (
    "name",
    "recipe",
    "model",
    "data",
    "optimizer",
    "schedule",
    "seed",
    "steps",
    "batch_size",
    "every",
    "versions",
)
_LONGEST = 400


@dataclass(frozen=True)
class Row:
    """One fact: its name and a value per run, in the order of the runs."""

    name: str
    values: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether all runs agree."""
        return len(set(self.values)) == 1


def about_rows(runs: Sequence[Run]) -> list[Row]:
    """Every fact of these runs; nested ones as `versions.torch`. Missing values are a dash."""
    facts = [_facts(run) for run in runs]
    names = sorted({name for f in facts for name in f}, key=_rank)
    return [Row(name, tuple(f.get(name, "–") for f in facts)) for name in names]


def _rank(name: str) -> tuple[int, str]:
    head = name.partition(".")[0]
    return (_FIRST.index(head) if head in _FIRST else len(_FIRST), name)


def _facts(run: Run) -> dict[str, str]:
    facts = {"folder": run.path.name, "last step": count(run.steps), **_flat(run.meta)}
    cost = _watch_cost(run)
    return facts | ({"watch overhead": cost} if cost else {})


def _watch_cost(run: Run) -> str:
    """Time spent measuring, as a share of the time spent training, from the store's own timers."""
    watch, step = run.store.series("watch_seconds")[1], run.store.series("step_seconds")[1]
    every = run.meta.get("every", 1)
    if not watch or not step or not isinstance(every, int):
        return ""
    each, usual = sum(watch) / len(watch), sorted(step)[len(step) // 2]
    return f"{share(each / (usual * max(every, 1)))} of a step ({number(1000 * each)} ms a sample)" if usual > 0 else ""


def _flat(meta: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in meta.items():
        name = f"{prefix}{key}"
        if not prefix and key in _ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = _cut(_text(value))
    return flat


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value) or "–"
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
