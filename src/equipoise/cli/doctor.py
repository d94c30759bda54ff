"""`equipoise doctor RUN`: diagnose a recorded run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from equipoise.doctor.diagnose import Diagnosis

EXAMPLES = (
    "equipoise doctor runs/gpt_python-1",
    "equipoise doctor runs/gpt_python-1 --strict      # exit code 1 when a finding is an error, for scripts",
)


@dataclass
class Verb:
    """Say what is wrong in a run, how it is known, why, and the exact change. The run may still be training."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    strict: bool = False
    """Exit code 1 when a finding has severity error."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Print the findings, and which rules had nothing to go by."""
        from equipoise.doctor.diagnose import diagnose

        found = diagnose(self.run_dir)
        if self.json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            print_diagnosis(found)
        return int(self.strict and found.worst == "error")


def print_diagnosis(found: Diagnosis) -> None:
    """Findings in full, then the rules that were silent for want of a signal."""
    from equipoise.cli.terminal import open_console, print_finding

    console = open_console()
    count = len(found)
    words = "nothing found" if not count else f"{count} finding{'s' if count > 1 else ''}"
    console.print(f"{found.subject}: {words}\n", markup=False)
    for finding in found:
        print_finding(console, finding)
    for rule, cause in found.suppressed:
        console.print(f"left out  {rule}: explained by {cause}", style="dim", markup=False)
    for rule, why in found.silent:
        console.print(f"silent    {rule}: {why}", style="dim", markup=False)
