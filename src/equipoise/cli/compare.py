"""`equipoise compare RECIPE RECIPE...`: the same data order and budget for all, several seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from equipoise.cli.overrides import Overrides

if TYPE_CHECKING:
    from rich.console import Console

    from equipoise.train import Comparison

EXAMPLES = (
    "equipoise compare gpt_python gpt_python:optimizer=adam",
    "equipoise compare mlp_digits mlp_digits:optimizer=lion,lr=3e-4 --seeds 0 1 2 3 4 --steps 200",
    "equipoise report runs/compare -o page.html      # a page about the comparison",
)


@dataclass
class Verb:
    """Train recipes on equal terms and compare held-out losses, paired by seed. The first recipe is the baseline."""

    recipes: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RECIPE RECIPE ...")]
    """Names of recipes, with changes if you like: gpt_python:optimizer=adam,weight_decay=0"""
    changes: Overrides = field(default_factory=Overrides)
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each trains every recipe once."""
    out: Path = Path("runs/compare")
    """Folder of the runs and of comparison.json. Runs that are there are not made again."""
    device: str = "cpu"
    """A torch device."""

    def run(self) -> int:
        """Train what is missing and print the table; 1 when a run diverged."""
        from equipoise.cli.terminal import open_console
        from equipoise.recipes.named import named_recipe
        from equipoise.train import choose_progress, compare

        recipes = [self.changes.apply(named_recipe(text)) for text in self.recipes]
        progress = choose_progress()
        try:
            found = compare(recipes, seeds=self.seeds, out_dir=self.out, progress=progress, device=self.device)
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt(f"{stopped or 'stopped'}; the same command goes on where it was") from None
        print_comparison(open_console(), found)
        print(f"page: equipoise report {self.out} -o page.html")
        return int(any(None in arm.values for arm in found.arms))


def print_comparison(console: Console, found: Comparison) -> None:
    """The table: mean and interval per arm, paired difference from the first, its interval and p-value."""
    from equipoise.cli.terminal import print_table

    pairs = {pair.arm: pair for pair in found.paired}
    rows = []
    for arm in found.arms:
        pair = pairs.get(arm.name)
        if pair is None:
            difference, p = "baseline", ""
        else:
            difference, p = with_interval(pair.mean_difference, pair.low, sign="+"), p_text(pair.p_value)
        rows.append((arm.label, with_interval(arm.mean, arm.low), difference, p))
    print_table(console, ("recipe", f"held-out loss, n = {len(found.seeds)}", "difference", "p"), rows, right=1)
    console.print(found.note, style="dim", markup=False)


def with_interval(mean: float | None, low: float | None, *, sign: str = "") -> str:
    """`2.3456 ± 0.0123`: the mean and half of its 95 % interval; `diverged` when there is no mean."""
    if mean is None:
        return "diverged"
    text = f"{mean:{sign}.4f}"
    return text if low is None else f"{text} ± {mean - low:.4f}"


def p_text(p_value: float | None) -> str:
    """A p-value as `0.003`, `< 0.0001`, or nothing."""
    if p_value is None:
        return ""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"
