"""The source tree as data, for the tests that read code instead of running it."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "equipoise"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """A function as written: where, its name, its lines without the docstring, and its text."""

    place: str
    lines: int
    text: str


def source_files(folder: Path = SRC) -> list[Path]:
    """Every Python file under a folder."""
    return sorted(folder.rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, nested ones too."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FunctionNode):
            last = node.end_lineno or node.lineno
            lines = last - node.lineno + 1 - _docstring_lines(node)
            written = "\n".join(text.splitlines()[node.lineno - 1 : last])
            yield Function(f"{path.name}:{node.lineno} {node.name}", lines, written)


def _docstring_lines(node: FunctionNode) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def tracked_files() -> list[Path]:
    """Every text file of the project: what git knows, or outside of git every file of the source folders."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    folders = ("src", "tests", "docs", "examples", "bench")
    return [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
