"""`equipoise show METHOD`: a method's maths, chain, state and source, all read off its Card."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from equipoise._card import Card

EXAMPLES = ("equipoise show adamw", "equipoise show peri_ln", "equipoise show gpt_python --no-source")


@dataclass
class Verb:
    """Show a method: its maths, its chain, what state it keeps, and its source."""

    method: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="METHOD")]
    """Name of the method; `equipoise list` shows all."""
    kind: str | None = None
    """Its kind, when two methods share a name."""
    no_source: bool = False
    """Leave the source out."""

    def run(self) -> int:
        """Print the Card."""
        from equipoise._card import find
        from equipoise.cli.terminal import open_console, print_facts

        card = find(self.method.replace("-", "_"), self.kind)
        console = open_console()
        console.print(f"{card.name}  ({card.kind}, {card.status})", style="bold", markup=False)
        print(f"\n{card.doc}\n")
        print_facts(console, facts(card))
        if not self.no_source and card.factory is not None:
            print(f"\n{inspect.getsource(card.factory)}")
        return 0


def facts(card: Card) -> list[tuple[str, str]]:
    """Label and text of everything the Card knows besides the maths."""
    found = [("chain", chain_text(card)), ("defaults", ", ".join(f"{k}={v!r}" for k, v in card.defaults.items()))]
    if card.kind == "recipe" and card.factory is not None:
        found += [(name, str(value)) for name, value in vars(card.factory()).items() if name not in ("name", "label")]
    if card.kind == "optim":
        found.append(("state", f"{card.state_per_param:g} values per parameter"))
    found += [("paper", " ".join(filter(None, (card.paper, card.equations)))), ("see also", ", ".join(card.see_also))]
    if card.factory is not None:
        found.append(("file", _place(inspect.getsourcefile(card.factory))))
    return [(label, text) for label, text in found if text]


def chain_text(card: Card) -> str:
    """The chain in words, for methods that make one without being told anything."""
    from equipoise.core.chain import Chain

    if card.kind not in ("optim", "decay") or card.factory is None:
        return ""
    required = [p for p in inspect.signature(card.factory).parameters.values() if p.default is p.empty]
    made = None if required else card.factory()
    return str(made) if isinstance(made, Chain) else ""


def _place(file: str | None) -> str:
    if file is None:
        return ""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
