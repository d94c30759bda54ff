"""Arrows point down: the contract in pyproject.toml holds, and it is able to break."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from arch.source_tree import ROOT, SRC, source_files

LAYERS = ROOT / "pyproject.toml"


def _lint_imports(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    run = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", run, "--no-cache", "--config", str(LAYERS)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contract_holds(tmp_path: Path) -> None:
    outcome = _lint_imports(tmp_path, SRC.parent)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("core/chain.py", "import equipoise.optim"),
        ("stages/__init__.py", "import equipoise.decay"),
        ("_errors.py", "def f():\n    from equipoise.core import chain"),
    ],
)
def test_contract_is_able_to_break(tmp_path: Path, module: str, line: str) -> None:
    copy = tmp_path / "equipoise"
    shutil.copytree(SRC, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    outcome = _lint_imports(tmp_path, tmp_path)
    assert outcome.returncode != 0, "an arrow that points up went unseen"
    assert "BROKEN" in outcome.stdout


def _modules_imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "equipoise":
            names |= {_submodule_or_front_door(alias.name) for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _submodule_or_front_door(name: str) -> str:
    """`from equipoise import optim` names a package, which the contract sees; other names use the front door."""
    return f"equipoise.{name}" if (SRC / name).is_dir() or (SRC / f"{name}.py").is_file() else "equipoise"


def test_nothing_inside_imports_the_public_front_door() -> None:
    """`import equipoise` inside the package reaches everything lazily: an arrow that no contract sees."""
    guilty = [p for p in source_files() if p != SRC / "__init__.py" and "equipoise" in _modules_imported(p)]
    assert not guilty, f"import from the module that defines the name, not from equipoise: {guilty}"


def test_core_stands_on_torch_and_the_standard_library_only() -> None:
    allowed = {*sys.stdlib_module_names, "torch", "equipoise"}
    for path in source_files(SRC / "core"):
        foreign = {name for name in _modules_imported(path) if name.split(".")[0] not in allowed}
        assert not foreign, f"{path.name} imports {foreign}"
