"""Processes that die, hang, or do something else: the others say which collective and stage, and nothing saved is lost.

`make test` runs a death in a save, and the first steps that differ; `make test-all` all of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dist.checkpoint_weights import SHAPES, Weights, optimizer_of, uninterrupted
from equipoise.core.entry import RunnerChoice
from equipoise.dist.checkpoint import load

pytestmark = pytest.mark.dist

HERE = Path(__file__).parent
LIMIT, PATIENCE = 240.0, 120.0
SIGNALLED = -int(signal.SIGKILL)


def survivors(fault: str, root: Path, *, guilty: int, world: int = 2) -> dict[int, list[dict]]:
    """What each process said in which nothing was wrong; the guilty one must have been killed, or is killed now."""
    meeting = root.with_name(f"{root.name}.meeting")
    job = json.dumps({"fault": fault, "root": str(root), "patience": PATIENCE})
    command = [sys.executable, "-W", "error", str(HERE / "faulty.py"), job]
    started = []
    for rank in range(world):
        own = {"RANK": str(rank), "WORLD_SIZE": str(world), "MEETING": str(meeting), "OMP_NUM_THREADS": "1"}
        env = {**os.environ, **own, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=env, text=True, **pipes))
    said, end = {}, time.monotonic() + LIMIT
    try:
        for rank, process in enumerate(started):
            if rank != guilty:
                out, err = process.communicate(timeout=max(end - time.monotonic(), 1.0))
                assert process.returncode == 0, err[-3000:]
                said[rank] = [json.loads(line) for line in out.splitlines()]
        if guilty >= 0 and fault != "hung":
            started[guilty].communicate(timeout=10)
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert guilty < 0 or started[guilty].returncode == SIGNALLED
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("killed, all-reduce", r"all-reduce for stage trust_ratio \(tensor\): got 'rank 0 waited for 2 processes: "),
        ("killed, all-to-all", r"all-to-all for stage .*\(matrix\): got 'rank 0 waited for 2 processes: "),
        (
            "hung",
            r"all-reduce for stage trust_ratio \(tensor\): got 'rank 0 waited for 2 processes: .*Timed out.*3000ms",
        ),
    ],
)
def test_a_process_that_dies_or_hangs_in_a_step(fault: str, words: str, tmp_path: Path) -> None:
    start = time.monotonic()
    (said,) = survivors(fault, tmp_path / "root", guilty=1)[0]
    assert said["error"] == "ProcessError"
    assert re.search(words, said["text"]), said["text"]
    assert time.monotonic() - start < PATIENCE, "long before the time-out of all groups"


@pytest.mark.slow
def test_a_process_that_dies_after_state_was_written(tmp_path: Path) -> None:
    """Compiled LAMB writes its averages before the sum: the parameters stay, and nothing goes on but from a save."""
    failed, again, saved, loaded = survivors("killed, half a step", tmp_path / "root", guilty=1)[0]
    assert failed["error"] == "ProcessError", failed
    assert "stage trust_ratio (tensor)" in failed["text"]
    assert failed["same"]
    assert failed["ahead"], "a death before anything was written tells nothing of the guard"
    for refused in (again, saved):
        assert refused["error"] == "StateError"
        assert re.search(r"half a step \(ProcessError in step 2\).*Load the last checkpoint", refused["text"])
        assert refused["same"]
    assert (loaded["error"], loaded["same"], loaded["ahead"]) == (None, True, False)
    model = Weights(None, seed=9)
    optimizer = optimizer_of("lamb", model, runner="fused")
    optimizer._choice = RunnerChoice("fused", "test", backend="eager")
    assert load(tmp_path / "root", model=model, optimizer=optimizer).step == 1
    model.train_by(optimizer, 2, 4)
    pairs = zip(model.whole(), uninterrupted("lamb", 4), strict=True)
    assert max((ours - theirs).abs().max() for ours, theirs in pairs) < 1e-5


DEATHS = {
    "save: shards": (1, 1, "collectives of torch.distributed.checkpoint for writing the shards of a checkpoint"),
    "save: values": (1, 1, "gather of objects for checkpoint: writing values and checksums"),
    "save: manifest": (0, 1, "gather of objects for checkpoint: moving it into its place"),
    "save: pointer": (0, 1, "gather of objects for checkpoint: moving it into its place"),
}
QUICK = "save: shards"


@pytest.mark.parametrize("fault", [pytest.param(f, marks=[] if f == QUICK else [pytest.mark.slow]) for f in DEATHS])
def test_a_process_that_dies_in_a_save(fault: str, tmp_path: Path) -> None:
    guilty, step, words = DEATHS[fault]
    (said,) = survivors(fault, tmp_path / "root", guilty=guilty)[1 - guilty]
    assert said["error"] == "ProcessError"
    assert words in said["text"]
    model = Weights(None, seed=9)
    optimizer = optimizer_of("soap", model)
    assert load(tmp_path / "root", model=model, optimizer=optimizer).step == step
    model.train_by(optimizer, step + 1, 3)
    pairs = zip(model.whole(), uninterrupted("soap", 3), strict=True)
    assert max((ours - theirs).abs().max() for ours, theirs in pairs) < 1e-5
    assert len(model.whole()) == len(SHAPES) + 1


FIRST_STEPS = {
    "lr": r"group 0: lr: 0\.1 on ranks \[0\], 0\.2 on ranks \[1\]",
    "chain": r"parameter group0\.0: .*step 0: .*centralize.*on ranks \[0\], .*on ranks \[1\]",
    "model": r"parameter encoder\.0: .*absent on ranks \[1\]",
    "runner": r"runner: reference on ranks \[0\], blocked on ranks \[1\]",
    "version": r"equipoise: .* on ranks \[0\], 0\.0\.9 on ranks \[1\]",
}


def test_processes_that_start_differently_are_told_what_differs(tmp_path: Path) -> None:
    said = survivors("first steps", tmp_path / "root", guilty=-1)
    assert [one["text"] for one in said[0]] == [one["text"] for one in said[1]]
    by_what = {one["what"]: one for one in said[0]}
    assert by_what.pop("nothing")["error"] is None
    assert set(by_what) == set(FIRST_STEPS)
    for what, one in by_what.items():
        assert one["error"] == "ProcessError"
        assert one["text"].startswith("first step of a sharded optimizer: got ")
        assert re.search(FIRST_STEPS[what], one["text"]), one["text"]


def test_damage_and_differences_are_told_to_all(tmp_path: Path) -> None:
    said = survivors("damaged", tmp_path / "root", guilty=-1)
    for rank in (0, 1):
        loaded, saved, models = said[rank]
        assert loaded["error"] == "StateError"
        assert "__1_0.distcp has another checksum" in loaded["text"]
        before = str(tmp_path / "root" / "save-000001")
        assert f"equipoise.dist.load({before!r}, model=model, optimizer=optimizer)" in loaded["text"]
        assert loaded["same"]
        assert saved["error"] == models["error"] == "ProcessError"
        assert re.search(
            r"save of a checkpoint.*optimizer: groups 0: lr: 0\.25 on ranks \[0\], 0\.5 on ranks \[1\]", saved["text"]
        )
        assert re.search(r"model: a\.weight: .*absent on ranks \[1\]", models["text"])


@pytest.mark.slow
def test_groups_of_some_wait_as_long_as_that_of_all(tmp_path: Path) -> None:
    said = survivors("patience", tmp_path / "root", guilty=-1, world=2)
    assert [one["seconds"] for rank in (0, 1) for one in said[rank]] == [PATIENCE, PATIENCE]
