"""What was run: the facts each store carries; those in which the arms differ first, those they share after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equipoise.report.numbers import count, number, share
from equipoise.report.runs import Run

# Told elsewhere on the page, repeated in the recipe, or long tables of their own.
_ELSEWHERE = {
    "predictions", "timescale", "label", "parameters", "scale_invariant", "horizon_so_far", "overhead", "last_step",
    "recipe_name", "schema_version", "recipe.label", "recipe.seed",
}  # fmt: skip
_FIRST = ("folder", "recipe", "model", "data", "optimizer", "seed", "last step", "watch overhead", "versions")
_LONGEST = 1500


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
    facts = {"folder": folder_name(run), "last step": count(run.steps), **_flat(run.meta)}
    if "optimizer.recipe" in facts:  # the chain in words says the same and more
        facts.pop("optimizer.groups", None)
    cost = _watch_cost(run)
    return facts | ({"watch overhead": cost} if cost else {})


def folder_name(run: Run) -> str:
    """The last two parts of the run's path: `adamw/seed-0`."""
    return "/".join(run.path.resolve().parts[-2:])


def _watch_cost(run: Run) -> str:
    """What watching cost, by the watch's own timer, which it writes down when it closes."""
    cost = run.meta.get("overhead")
    if not isinstance(cost, Mapping):
        return ""
    part, seconds = cost.get("share"), cost.get("seconds")
    if not isinstance(part, int | float) or not isinstance(seconds, int | float):
        return ""
    return f"{share(part)} of the training time ({number(seconds)} s)"


def _flat(meta: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in meta.items():
        name = f"{prefix}{key}"
        if name in _ELSEWHERE or value is None:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        elif text := _text(value):
            flat[name] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return flat


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        between = "\n" if any(isinstance(v, Mapping) for v in value) else ", "
        return between.join(_text(v) for v in value)
    return str(value)
