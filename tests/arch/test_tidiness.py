"""Sizes and names: small files, small functions, and no drawer for odds and ends."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

from arch.source_tree import ROOT, SRC, functions, source_files

NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "misc"}
REASON = "long because"  # written in a comment or docstring: `# Long because ...`


def _says_why(text: str) -> bool:
    return REASON in " ".join(text.lower().split())


def _too_long_files(folder: Path, limit: int = 300) -> list[str]:
    long = [(p, p.read_text(encoding="utf-8").splitlines()) for p in source_files(folder)]
    return [f"{p.name}: {len(t)} lines" for p, t in long if len(t) > limit and not _says_why("\n".join(t[:20]))]


def _too_long_functions(folder: Path, limit: int = 40) -> list[str]:
    found = [f for p in source_files(folder) for f in functions(p)]
    return [f"{f.place}: {f.lines} lines" for f in found if f.lines > limit and not _says_why(f.text)]


def test_no_file_is_long_without_a_reason_at_its_top() -> None:
    assert not _too_long_files(SRC), f"split it, or say '{REASON} ...' at its top"


def test_no_function_is_long_without_a_reason() -> None:
    assert not _too_long_functions(SRC), f"split it, or say '# {REASON} ...' in it"


def test_the_usual_function_is_small() -> None:
    lengths = [f.lines for p in source_files() for f in functions(p)]
    assert statistics.median(lengths) <= 10


@pytest.mark.parametrize("folder", ["src", "tests", "docs", "examples", "bench"])
def test_no_file_name_says_nothing(folder: str) -> None:
    guilty = [p for p in source_files(ROOT / folder) if p.stem in NAMES_THAT_SAY_NOTHING]
    assert not guilty, "name the file after what it does"


def test_every_module_says_what_it_is() -> None:
    silent = [p for p in source_files() if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]
    assert not silent


def test_todo_has_an_anchor() -> None:
    mark = "TO" + "DO"
    lines = [f"{p.name}: {line.strip()}" for p in source_files() for line in p.read_text(encoding="utf-8").splitlines()]
    assert not [line for line in lines if mark in line and f"{mark}(" not in line]


def test_the_checks_are_able_to_fail(tmp_path: Path) -> None:
    body = "\n".join(f"    x = {i}" for i in range(45))
    (tmp_path / "a.py").write_text(f"def f():\n{body}\n" + "\n" * 300, encoding="utf-8")
    assert _too_long_files(tmp_path)
    assert _too_long_functions(tmp_path)
    (tmp_path / "a.py").write_text(
        f"# Long because of a test.\ndef f():\n    # Long because\n{body}\n", encoding="utf-8"
    )
    assert not _too_long_files(tmp_path)
    assert not _too_long_functions(tmp_path)
