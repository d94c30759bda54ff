"""`equipoise list`: every method with one line."""

from __future__ import annotations

from dataclasses import dataclass

EXAMPLES = ("equipoise list", "equipoise list --kind optim")


@dataclass
class Verb:
    """List every method the library knows."""

    kind: str | None = None
    """Only this kind: optim, stage, decay, schedule, block, law, probe, rule or recipe."""

    def run(self) -> int:
        """Print one table, kinds together."""
        from equipoise._card import KINDS, cards
        from equipoise._errors import ArgumentError, near
        from equipoise.cli.terminal import open_console, print_table

        if self.kind is not None and self.kind not in KINDS:
            raise ArgumentError("--kind", self.kind, "a known kind", near(self.kind, list(KINDS)))
        console, found = open_console(), cards(self.kind)
        print_table(console, ("kind", "name", "summary"), [(c.kind, c.name, c.summary) for c in found])
        console.print(f"{len(found)} methods; one in full: equipoise show NAME", style="dim")
        return 0
