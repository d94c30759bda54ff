"""Stages never sum, average or take norms themselves: they ask the engine, which can pack and shard reductions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from arch.source_tree import SRC, source_files

REDUCTIONS = set(
    """
    sum nansum mean nanmean max amax min amin aminmax std var std_mean var_mean norm vector_norm matrix_norm
    median logsumexp prod all any dot vdot cumsum item tolist
    """.split()
)


def _reductions(path: Path) -> list[str]:
    """Calls like `x.sum()` and `torch.max(x)`; Python's own max over two numbers is no reduction of a tensor."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    attributes = [call.func for call in calls if isinstance(call.func, ast.Attribute)]
    return [f"{path.name}:{a.lineno} {a.attr}" for a in attributes if a.attr in REDUCTIONS]


@pytest.mark.parametrize("package", ["stages", "decay"])
def test_no_reduction(package: str) -> None:
    files = source_files(SRC / package)
    assert files
    found = [line for path in files for line in _reductions(path)]
    assert not found, "declare `reduction=` and return it from `partials`"


def test_the_check_is_able_to_fail(tmp_path: Path) -> None:
    path = tmp_path / "stage.py"
    path.write_text("import torch\ny = torch.linalg.vector_norm(x) + x.abs().mean() + max(1, 2)\n", encoding="utf-8")
    assert len(_reductions(path)) == 2
