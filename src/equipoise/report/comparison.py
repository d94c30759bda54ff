"""A comparison as `comparison.json` tells it: arms with a value per seed, and paired differences."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from equipoise._errors import RunError
from equipoise.report.numbers import places_for

FILE_NAME = "comparison.json"


@dataclass(frozen=True)
class Arm:
    """One recipe over its seeds. `values` holds NaN where a run gave no finite value."""

    name: str
    label: str
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Pair:
    """The difference arm minus baseline, seed by seed: its mean, 95 % interval, p-value and number of pairs."""

    arm: str
    baseline: str
    mean_difference: float
    low: float
    high: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Everything the page says of a comparison. `budget` and `note` are the comparison's own words."""

    metric: str
    budget: Mapping[str, object]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    paired: tuple[Pair, ...]
    note: str

    @property
    def places(self) -> int:
        """Decimals for the values: as many as the narrowest interval of an arm calls for."""
        halves = [a.high - a.mean for a in self.arms if a.high > a.mean]
        return places_for(min(halves, default=None))

    def label_of(self, name: str) -> str:
        """The label of the arm of that name; the name itself when no arm has it."""
        return next((a.label for a in self.arms if a.name == name), name)

    def arm(self, name: str) -> Arm | None:
        """The arm of that name."""
        return next((a for a in self.arms if a.name == name), None)


def read_comparison(path: str | Path) -> Comparison:
    """Read a `comparison.json` (or the folder that holds it).

    Raises:
        RunError: missing, not JSON, or without a field the page needs; the message names it.
    """
    file = Path(path)
    file = file / FILE_NAME if file.is_dir() else file
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            f"no comparison can be read at {str(file)!r} ({error.strerror}). Run: equipoise compare"
        ) from error
    except ValueError as error:
        raise RunError(f"{str(file)!r} is not JSON ({error}). Run equipoise compare again.") from error
    try:
        return _comparison(data, file.parent)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{str(file)!r} is no comparison: {type(error).__name__} {error}. It needs metric, seeds, arms (name, "
            "label, values, mean, low, high, runs) and paired; equipoise compare writes them."
        ) from error


def _comparison(data: Mapping[str, object], folder: Path) -> Comparison:
    arms, paired, seeds = data["arms"], data.get("paired") or [], data["seeds"]
    return Comparison(
        metric=_text(data["metric"]),
        budget=dict(data.get("budget") or {}),  # pyright: ignore[reportArgumentType, reportCallIssue]
        seeds=tuple(seeds),  # pyright: ignore[reportArgumentType]
        arms=tuple(_arm(a, folder) for a in arms),  # pyright: ignore[reportGeneralTypeIssues]
        paired=tuple(_pair(p) for p in paired),  # pyright: ignore[reportGeneralTypeIssues]
        note=_text(data.get("note") or ""),
    )


def _arm(data: Mapping[str, object], folder: Path) -> Arm:
    values = tuple(_float(v) for v in data["values"])  # pyright: ignore[reportGeneralTypeIssues]
    runs = tuple(_run_path(r, folder) for r in data.get("runs") or [])  # pyright: ignore[reportGeneralTypeIssues]
    mean, low, high = (_float(data.get(k)) for k in ("mean", "low", "high"))
    return Arm(_text(data["name"]), _text(data.get("label") or data["name"]), values, mean, low, high, runs)


def _pair(data: Mapping[str, object]) -> Pair:
    difference, low, high, p = (_float(data.get(k)) for k in ("mean_difference", "low", "high", "p_value"))
    return Pair(_text(data["arm"]), _text(data["baseline"]), difference, low, high, p, int(_float(data["n"])))


def _run_path(given: object, folder: Path) -> Path:
    """Paths are relative to the file, or stand as they were; after a move they are looked for beside the file."""
    path = Path(_text(given))
    candidates = [folder / path, path, folder / Path(*path.parts[-2:]), folder / path.name]
    return next((c for c in candidates if c.exists()), path)


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _float(value: object) -> float:
    return math.nan if value is None else float(value)  # pyright: ignore[reportArgumentType]
