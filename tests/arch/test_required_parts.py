"""A missing part is a skip with its cure on somebody's laptop, and a failure where everything is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arch.source_tree import ROOT

TEST = """
import conftest

conftest.PARTS["unobtainium"] = (lambda: None, "a mine")

def test_needs_it(require):
    require("unobtainium")
"""


@pytest.mark.parametrize(("required", "code", "words"), [("", 0, "1 skipped"), ("all", 1, "1 failed")])
def test_missing_part(tmp_path: Path, required: str, code: int, words: str) -> None:
    (tmp_path / "test_part.py").write_text(TEST, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-rs", "test_part.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "EQUIPOISE_REQUIRE": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout
    assert "install a mine" in done.stdout
