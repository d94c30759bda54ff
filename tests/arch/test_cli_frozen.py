"""Verbs and options of the command line are frozen: scripts depend on them.

After a change that is meant: python tests/arch/test_cli_frozen.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SNAPSHOT = Path(__file__).with_name("cli_snapshot.txt")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def _help(*words: str) -> str:
    command = [sys.executable, "-c", "from equipoise.cli import main; main()", *words, "--help"]
    plain = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _verbs() -> list[str]:
    from equipoise.cli import VERBS

    return sorted(VERBS)


def surface() -> str:
    """One line for each verb with its options."""
    lines = []
    for verb in _verbs():
        options = sorted(set(OPTION.findall(_help(verb))) - {"--help"})
        lines.append(" ".join([verb, *options]))
    return "\n".join(lines) + "\n"


def test_verbs_and_options_are_the_frozen_ones() -> None:
    assert surface() == SNAPSHOT.read_text(encoding="utf-8"), "meant? run: python tests/arch/test_cli_frozen.py"


def test_every_verb_shows_an_example() -> None:
    for verb in _verbs():
        assert f"equipoise {verb}" in _help(verb), f"the help of {verb} shows no example"


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), encoding="utf-8")
