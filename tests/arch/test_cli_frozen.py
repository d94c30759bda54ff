"""Verbs and options of the command line are frozen: scripts depend on them.

After a change that is meant: python tests/arch/test_cli_frozen.py
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
from pathlib import Path
from unittest import mock

from equipoise.cli import VERBS, main

SNAPSHOT = Path(__file__).with_name("cli_snapshot.txt")
OPTION = re.compile(
    r"^[│ ]{0,3}(?:-\w(?: [A-Z]+)?, )?(--[a-z][a-z0-9-]*)", re.MULTILINE
)  # only where an option is explained
WIDE = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


@functools.cache
def _help(verb: str) -> str:
    text = io.StringIO()
    with mock.patch.dict(os.environ, WIDE), contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    return text.getvalue()


def _usage(verb: str) -> str:
    """The verb and its positional words; options in brackets are left out, whatever their layout."""
    usage = _help(verb).partition("\n\n")[0].removeprefix("usage: ")
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", usage)) != usage:
        usage = shorter
    return " ".join(usage.split())


def surface() -> str:
    """Each verb's usage, and under it its options, as its help names them."""
    lines = []
    for verb in sorted(VERBS):
        lines += [_usage(verb), *(f"    {name}" for name in sorted(set(OPTION.findall(_help(verb)))))]
    return "\n".join(lines) + "\n"


def test_verbs_and_options_are_the_frozen_ones() -> None:
    assert surface() == SNAPSHOT.read_text(encoding="utf-8"), "meant? run: python tests/arch/test_cli_frozen.py"


def test_the_help_is_read_right() -> None:
    assert "    --out" in surface(), "the layout of the help has changed, and this test no longer sees options"


def test_every_verb_shows_an_example() -> None:
    for verb in VERBS:
        assert f"equipoise {verb}" in _help(verb).partition("\nExamples:\n")[2], f"the help of {verb} shows no example"


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), encoding="utf-8")
