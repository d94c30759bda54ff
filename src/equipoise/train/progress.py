"""Showing how a run is doing: a bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import importlib.util
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


@dataclass(frozen=True)
class Moment:
    """One look at a run. `share` is the part of the budget used, 0 to 1; `rate` is `unit` per second."""

    title: str
    step: int
    share: float
    loss: float
    val_loss: float | None
    rate: float
    unit: str
    seconds: float

    @property
    def left(self) -> float:
        """Seconds left, by the share of the budget that is used."""
        return self.seconds * (1 - self.share) / self.share if self.share > 0 else float("inf")

    def words(self) -> str:
        """Step, loss, held-out loss, throughput and time left, in one line."""
        held_out = "" if self.val_loss is None else f"  held-out {self.val_loss:.4f}"
        speed = f"{self.rate:,.0f} {self.unit}/s"
        return f"step {self.step:>5}  loss {self.loss:.4f}{held_out}  {speed}  {clock(self.left)} left"


class Progress(Protocol):
    """What the trainer tells while it works."""

    def update(self, moment: Moment) -> None:
        """A step is done."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class Silent:
    """Shows nothing."""

    def update(self, moment: Moment) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainLines:
    """One line every few seconds, and one at the end: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, *, every: float = 5.0) -> None:
        self.stream, self.every = stream or sys.stderr, every
        self._due = 0.0

    def update(self, moment: Moment) -> None:
        """Write a line when the last one is `every` seconds old, or the budget is used."""
        now = time.monotonic()
        if now >= self._due or moment.share >= 1:
            self.note(f"{moment.title}  {moment.share:4.0%}  {moment.words()}")
            self._due = now + self.every

    def note(self, text: str) -> None:
        """Write the line."""
        self.stream.write(text + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Nothing is left open."""


class Bar:
    """A progress bar on a terminal, by rich; it comes with the first step of a run and goes when the run is over."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bar: RichProgress | None = None

    def update(self, moment: Moment) -> None:
        """Move the bar."""
        if self._bar is None:
            self._bar = self._open()
        words = moment.words()
        self._bar.update(self._bar.task_ids[0], completed=moment.share, description=moment.title, words=words)

    def _open(self) -> RichProgress:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = [TextColumn("{task.fields[words]}", markup=False)]
        if self._console.width >= 100:
            columns = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=16), *columns]
        bar = RichProgress(*columns, console=self._console, transient=True)
        bar.add_task("", total=1.0, words="")
        bar.start()
        return bar

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def choose_progress() -> Progress:
    """A bar when standard error is a terminal and rich is installed, plain lines otherwise."""
    with_rich = importlib.util.find_spec("rich") is not None
    return Bar() if sys.stderr.isatty() and with_rich else PlainLines()


def clock(seconds: float) -> str:
    """Seconds as `42 s`, `3:05` or `1:02:03`; `?` when unknown."""
    if seconds == float("inf"):
        return "?"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
