"""`equipoise demo`: a common mistake on real data, found by the doctor, cured by its remedy, and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXAMPLES = ("equipoise demo", "equipoise demo --seeds 0 1 2 3 4 --out my-demo")


@dataclass
class Verb:
    """Train a small GPT on Python source with a common mistake, let the doctor find it, apply the remedy, compare.

    Takes under five minutes on two cores; the first line says how long here.
    """

    out: Path = Path("demo-output")
    """Folder of the runs and of demo.html. A demo that was stopped goes on there; a finished one is made anew."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each trains every arm once."""
    steps: int | None = None
    """Steps of each run; by default as many as fit, at most 150."""
    threads: int = 2
    """CPU threads. Two by default, so that the numbers are the same on any two or more cores."""

    def run(self) -> int:
        """The four acts: mistake, diagnosis, cure, proof."""
        from equipoise.cli.demo_story import tell

        try:
            return tell(self.out, self.seeds, self.steps, self.threads)
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt(f"{stopped or 'stopped'}; the same command goes on where it was") from None
