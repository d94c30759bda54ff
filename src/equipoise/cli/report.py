"""`equipoise report RUN... -o page.html`: one self-contained page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

EXAMPLES = (
    "equipoise report runs/gpt_python-1 -o page.html",
    "equipoise report runs/compare -o page.html      # a comparison with all its runs",
)


@dataclass
class Verb:
    """Write one HTML page about runs: curves, heat maps, findings, comparison. It opens from disk without a network."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Run folders, or the folder of a comparison."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html")
    """The page to write."""

    def run(self) -> int:
        """Write the page and say where it is."""
        from equipoise.report import write_report

        print(f"page: {write_report(list(self.runs), self.out)}")
        return 0
