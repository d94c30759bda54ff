"""Prose that can be wrong is run: README, documentation, docstrings and example scripts."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import equipoise

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(`{3,})python *\n(.*?)^\1 *$", re.MULTILINE | re.DOTALL)
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _blocks(path: Path) -> list[str]:
    return [code for _, code in FENCE.findall(path.read_text(encoding="utf-8"))]


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in an empty folder, warnings as errors, where neither src nor the repository is importable."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", "PYTHONPATH": ""}
    return subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("path", [p for p in PROSE if _blocks(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_of_a_page_run_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(_blocks(path)), encoding="utf-8")
    done = _run([sys.executable, str(script)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_and_tutorials_have_blocks() -> None:
    tutorials = sorted((ROOT / "docs" / "start").glob("*.md"))
    assert len(tutorials) == 3
    assert all(_blocks(path) for path in [ROOT / "README.md", *tutorials])


def test_readme_example_is_short() -> None:
    lines = [line for line in _blocks(ROOT / "README.md")[0].splitlines() if line.strip()]
    assert len(lines) <= 20


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_example_runs_quickly(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    start = time.perf_counter()
    done = _run([sys.executable, str(path)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip(), "an example says what it found"
    assert time.perf_counter() - start < 60, "meant to take seconds; the bound is wide for a busy machine"


def test_docstring_examples_hold() -> None:
    names = [info.name for info in pkgutil.walk_packages(equipoise.__path__, prefix="equipoise.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names if not name.endswith("__main__")]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0


def test_a_wrong_block_is_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n```python\nassert 1 + 1 == 3\n```\nmore\n", encoding="utf-8")
    (code,) = _blocks(page)
    assert _run([sys.executable, "-c", code], tmp_path).returncode != 0


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
