"""Cell: one point of the decay grid, place x target x metric x law x mask, and why some points do not exist."""

from __future__ import annotations

from dataclasses import dataclass

from equipoise._errors import ArgumentError
from equipoise.core.checks import check_at_least, check_choice, check_fraction
from equipoise.core.stage import Slot
from equipoise.decay.laws import LAWS, LawFunction

PLACES = {
    "grad": Slot.GRADIENT,
    "momentum": Slot.MOMENTUM,
    "direction": Slot.DIRECTION,
    "before": Slot.DECAY,
    "after": Slot.AFTER,
    "prox": Slot.AFTER,
}
INSIDE = ("grad", "momentum", "direction")  # what the learning rate multiplies later on
TARGETS = ("zero", "init", "ema", "unit_row", "other")
METRICS = ("l2", "l1", "huber", "den", "centred", "std", "spectral")
MASKS = ("all", "cautious", "outside")
MEASURED = ("stable", "dual", "dual_inflection")  # laws that read tensors: a stage of their own gives the coefficient


@dataclass(frozen=True)
class Cell:
    """Coordinates of one decay. `delta`, `beta`, `pattern` and `by_row` belong to huber, ema, outside and stable."""

    place: str
    target: str
    metric: str
    law: str | LawFunction
    mask: str
    delta: float | None = None
    beta: float | None = None
    pattern: str | None = None
    by_row: bool = False

    @property
    def options(self) -> tuple[tuple[str, object], ...]:
        """What is printed, and what makes two decays differ."""
        names = ("place", "target", "metric", "law", "mask")
        extra = [(name, getattr(self, name)) for name in ("delta", "beta", "pattern")]
        extra += [("by_row", True)] if self.by_row else []
        return (*((name, getattr(self, name)) for name in names), *((n, v) for n, v in extra if v is not None))

    @property
    def levels(self) -> dict[str, str]:
        """Coordinate -> level at which it reduces, for those that do.

        A stage reduces once: the decay's own stage takes the first, stages before it take the others (see `apart`).
        """
        found = {
            "metric": {"centred": "tensor", "std": "tensor", "spectral": "matrix"}.get(self.metric),
            "target": {"unit_row": "row"}.get(self.target),
            "mask": {"outside": "matrix"}.get(self.mask),
        }
        return {name: level for name, level in found.items() if level}

    @property
    def apart(self) -> tuple[str, ...]:
        """Coordinates whose reduction is a stage of its own, before the decay's."""
        return tuple(self.levels)[1:]

    @property
    def slot(self) -> Slot:
        """Where its stages stand."""
        return PLACES[self.place]

    @property
    def inside(self) -> bool:
        """Whether the learning rate multiplies it later on."""
        return self.place in INSIDE

    @property
    def afterwards(self) -> bool:
        """Whether it runs after apply."""
        return self.place in ("after", "prox")


def check(cell: Cell) -> Cell:
    """The cell, if it exists.

    Raises:
        ArgumentError: an unknown word, or coordinates that do not go together, with the reason.
    """
    choices = {"place": PLACES, "target": TARGETS, "metric": METRICS, "mask": MASKS}
    for name, known in choices.items():
        check_choice(name, getattr(cell, name), known)
    if isinstance(cell.law, str) or not callable(cell.law):
        check_choice("law", cell.law, LAWS)
    for refuse in (_place, _together):
        refuse(cell)
    _argument("delta", cell.delta, cell.metric == "huber", "metric='huber'", "a number")
    _argument("beta", cell.beta, cell.target == "ema", "target='ema'", "a number in [0, 1]")
    _argument("by_row", cell.by_row or None, cell.by_row and cell.law == "stable", "law='stable'", "True or False")
    _argument("pattern", cell.pattern, cell.mask == "outside", "mask='outside'", "a pattern such as '2:4'")
    if cell.delta is not None:
        check_at_least("delta", cell.delta, 0.0)
    if cell.beta is not None and cell.beta != 1:
        check_fraction("beta", cell.beta)
    if cell.pattern is not None:
        read_pattern(cell.pattern)
    return cell


def read_pattern(pattern: str) -> tuple[int, int]:
    """N and M of "N:M", 0 < N < M."""
    kept, _, group = pattern.partition(":")
    if kept.isdigit() and group.isdigit() and 0 < int(kept) < int(group):
        return int(kept), int(group)
    raise ArgumentError("pattern", pattern, "'N:M' with 0 < N < M", "Write '2:4' for two kept of every four.")


def _place(cell: Cell) -> None:
    place = cell.place
    for name, word in (("metric", "den"), ("law", "stable")):
        if place == "grad" and getattr(cell, name) == word:
            expected = f"another {name} for place {place!r}, where there is no denominator yet"
            raise ArgumentError(name, word, expected, "Use place='before'.")


def _together(cell: Cell) -> None:
    if cell.law in ("dual", "dual_inflection") and (cell.target, cell.metric) != ("zero", "l2"):
        got = f"target {cell.target!r}, metric {cell.metric!r}"
        expected = "target 'zero', metric 'l2': the dual variable bounds the mean square of the weight itself"
        raise ArgumentError(f"law {cell.law!r}", got, expected, "Use law='lr'.")


def _argument(name: str, value: object, belongs: bool, where: str, what: str) -> None:
    if belongs and value is None:
        raise ArgumentError(name, None, f"{what}, for {where}", f"Pass {name}= too.")
    if not belongs and value is not None:
        raise ArgumentError(name, value, f"None without {where}", f"Leave {name} out, or choose {where}.")
