"""The command line: `equipoise VERB ...`. One file per verb; a verb is imported when it is used.

Exit codes: 0 done; 1 the run diverged, or `doctor --strict` found an error; 2 wrong usage or missing input; 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from equipoise.cli.verbs import VERBS, overview, run_verb

__all__ = ["VERBS", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code; `sys.argv` when no words are given."""
    words = [*(sys.argv[1:] if argv is None else argv)]  # `list` is a verb's module in here
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        from equipoise import __version__

        print(f"equipoise {__version__}")
        return 0
    return run_verb(words[0], words[1:])
