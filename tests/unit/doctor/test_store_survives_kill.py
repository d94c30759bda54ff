"""A writer killed at a random moment leaves a store that opens and lacks at most the last flush interval."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from equipoise._errors import RunError
from equipoise.doctor.store import RunStore
from equipoise.doctor.store_schema import store_path

FLUSH_ROWS = 40
WRITER = f"""
import os, sys
from equipoise.doctor import store_writer
from equipoise.doctor.store import RunStore
store_writer.FLUSH_ROWS = {FLUSH_ROWS}
writer = RunStore.create(sys.argv[1], {{"seed": 1}})
step = 0
while True:
    step += 1
    writer.write(step, "loss", float(step))
    writer.write(step, "weight_norm", float(-step), f"layer.{{step % 7}}")
    os.write(1, step.to_bytes(8, "little"))
"""


def _killed_writer(folder: Path, seconds: float) -> int:
    """Start the writer, kill it `seconds` after its first row, and return the last step it reported."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    reported = process.stdout.read(8)
    deadline = time.monotonic() + seconds
    os.set_blocking(process.stdout.fileno(), False)
    while time.monotonic() < deadline:
        reported += process.stdout.read() or b""
    process.send_signal(signal.SIGKILL)
    process.wait()
    reported += process.stdout.read() or b""
    process.stdout.close()
    whole = len(reported) // 8 * 8
    return int.from_bytes(reported[whole - 8 : whole], "little")


@pytest.mark.parametrize("trial", range(12))
def test_killed_while_writing(tmp_path: Path, trial: int) -> None:
    reported = _killed_writer(tmp_path, random.Random(trial).uniform(0.0, 0.12))
    with RunStore.open(tmp_path) as run:
        steps, values = run.series("loss")
        assert run.meta["seed"] == 1
        assert steps == list(range(1, len(steps) + 1)), "no hole in the middle"
        assert values == [float(s) for s in steps]
        # Two rows a step: at most one buffer of rows is missing, and one step may be under way.
        assert reported - len(steps) <= FLUSH_ROWS // 2 + 1
        assert sum(len(s) for s, _ in run.table("weight_norm").values()) in (len(steps), len(steps) - 1)
    with RunStore.create(tmp_path, {}, exists="resume") as writer:
        writer.write(10**6, "loss", 0.0)
    assert RunStore.open(tmp_path).last("loss") == 0.0


@pytest.mark.parametrize("trial", range(6))
def test_killed_while_creating(tmp_path: Path, trial: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.0002)
    time.sleep(trial * 0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if store_path(tmp_path).exists():
        with RunStore.open(tmp_path) as run:
            assert run.meta["seed"] == 1
    else:
        with pytest.raises(RunError, match="no run at"):
            RunStore.open(tmp_path)


def test_a_writer_that_never_flushed_would_be_caught(tmp_path: Path) -> None:
    script = WRITER.replace(f"= {FLUSH_ROWS}", "= 10**9").replace("while True", "for _ in range(500)")
    script += "\nos.kill(os.getpid(), 9)"
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, check=False)
    assert found.returncode == -signal.SIGKILL
    assert len(RunStore.open(tmp_path).series("loss")[0]) < 500 - FLUSH_ROWS
