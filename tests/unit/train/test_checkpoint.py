"""Checkpoints: a crash at any point of a write loses nothing that was there before."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from equipoise._errors import RunError
from equipoise.core.durable import write_atomically
from equipoise.train.atomic import read_json, write_json
from equipoise.train.checkpoint import (
    Progressed,
    all_finite,
    checkpoints,
    load_newest,
    random_states,
    restore,
    save_checkpoint,
    set_random_states,
)


def small(value: float = 1.0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    torch.nn.init.constant_(model.weight, value)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_round_trip(tmp_path):
    model, optimizer = small()
    save_checkpoint(tmp_path, model, optimizer, Progressed(7, 1.5))
    other, its = small(5.0)
    state = load_newest(tmp_path)
    assert restore(state, other, its) == Progressed(7, 1.5)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(its.state[other.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"])


def test_only_the_newest_two_stay(tmp_path):
    model, optimizer = small()
    for step in (1, 5, 1000000000, 20):
        save_checkpoint(tmp_path, model, optimizer, Progressed(step))
    assert len(checkpoints(tmp_path)) == 2
    assert load_newest(tmp_path)["step"] == 1000000000
    assert not list(tmp_path.glob("*.part"))


def test_an_empty_folder_has_none(tmp_path):
    assert load_newest(tmp_path / "nowhere") is None


DAMAGE = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "noise": lambda whole: random.Random(0).randbytes(len(whole)),
    "noise that begins like a pickle": lambda whole: b"\x80\xd1" + random.Random(1).randbytes(len(whole)),
    "a pickle of something else": lambda whole: b"\x80\x02N.",
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_checkpoint_is_skipped_with_a_warning(damage, tmp_path):
    model, optimizer = small()
    save_checkpoint(tmp_path, model, optimizer, Progressed(1))
    path = save_checkpoint(tmp_path, model, optimizer, Progressed(2))
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.warns(UserWarning, match=r"step-00000002.pt' is damaged"):
        assert load_newest(tmp_path)["step"] == 1


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    model, optimizer = small()
    monkeypatch.setattr("equipoise.train.checkpoint.FORMAT", 2)
    save_checkpoint(tmp_path, model, optimizer, Progressed(1))
    monkeypatch.setattr("equipoise.train.checkpoint.FORMAT", 1)
    with pytest.raises(RunError, match="format 2, newer than 1"):
        load_newest(tmp_path)


def test_random_states_come_back():
    states = random_states()
    first = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    set_random_states(states)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first  # noqa: NPY002


def test_a_model_with_one_nan_is_not_finite():
    model, _ = small()
    assert all_finite(model)
    with torch.no_grad():
        model.bias[1] = float("nan")
    assert not all_finite(model)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def half(file) -> None:
        file.write(b'{"x"')
        raise OSError("disk full")

    with pytest.raises(RunError, match="disk full"):
        write_atomically(path, half)
    assert read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(RunError, match="runs"):
        write_json(tmp_path / "runs" / "a.json", {})


# A process that writes checkpoints as fast as it can; HOW says where it kills itself, "never" waits to be killed.
WRITER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import torch
    from equipoise.core import durable
    from equipoise.train import checkpoint
    folder, how = Path(sys.argv[1]), sys.argv[2]
    model = torch.nn.Linear(400, 400)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    for step in range(1, 100000):
        torch.nn.init.constant_(model.weight, float(step))
        if step == 3 and how == "in write":
            write = durable.write_atomically
            def half(path, fill):
                write(path, lambda file: (file.write(b"PK half of it"), file.flush(), die()))
            checkpoint.write_atomically = half
        if step == 3 and how == "before sync":
            durable.os.fsync = die
        if step == 3 and how == "before move":
            Path.replace = die
        checkpoint.save_checkpoint(folder, model, optimizer, checkpoint.Progressed(step))
        print(step, flush=True)
    """
)


def killed_writer(folder: Path, how: str) -> tuple[subprocess.Popen, int]:
    """Start the writer; let it die by itself or kill it at a random moment. Gives the last step it called done."""
    command = [sys.executable, "-c", WRITER, str(folder), how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    if how == "never":
        process.stdout.readline()
        time.sleep(random.Random(os.urandom(4)).uniform(0.0, 0.2))
        process.kill()
    done = process.stdout.read().split()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return process, int(done[-1]) if done else 1


@pytest.mark.parametrize("how", ["in write", "before sync", "before move", "never"])
def test_kill_9_in_mid_write_loses_nothing(how, tmp_path):
    _, last = killed_writer(tmp_path, how)
    state = load_newest(tmp_path)  # a damaged file would warn, and warnings are errors
    assert state["step"] in (last, last + 1)
    assert (state["model"]["weight"] == state["step"]).all()
    if how != "never":
        assert state["step"] == 2
