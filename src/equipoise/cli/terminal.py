"""Plain and tidy text on any terminal: a console of sensible width, tables, findings."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from equipoise._errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console

    from equipoise.doctor.finding import Finding

WIDEST = 100
COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}


def open_console() -> Console:
    """A console on standard output, at most 100 columns wide, so that lines stay readable; 100 into files and pipes."""
    try:
        from rich.console import Console
    except ImportError:
        raise MissingExtraError("rich", "cli") from None
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    return Console(file=sys.stdout, width=max(40, width), highlight=False)


def print_table(console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: int = 99) -> None:
    """A table without boxes; columns from number `right` on are numbers and stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for i, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if i >= right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Label and text pairs in two columns; long texts stay in theirs."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in facts:
        grid.add_row(Text(label), Text(text))
    console.print(grid)


def print_finding(console: Console, finding: Finding) -> None:
    """Symptom, evidence, cause, remedy and source of one finding, labels to the left."""
    from rich.text import Text

    head = Text(finding.severity, style=COLOURS[finding.severity])
    console.print(head + Text(f"  {finding.symptom}", style="bold") + Text(f"  ({finding.rule})", style="dim"))
    print_facts(console, ((f"  {label}", text) for label, text in _parts(finding)))
    console.print()


def _parts(finding: Finding) -> Iterable[tuple[str, str]]:
    for i, evidence in enumerate(finding.evidence):
        yield "evidence" if i == 0 else "", evidence.text
    yield "cause", finding.cause
    yield "remedy", finding.remedy.text
    if finding.remedy.code:
        yield "code", finding.remedy.code
    if finding.remedy.recipe_fields:
        yield "recipe", ", ".join(f"{key}={_short(value)}" for key, value in finding.remedy.recipe_fields.items())
    yield "source", finding.source


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
