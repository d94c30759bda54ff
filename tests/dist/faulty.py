"""Run in several processes that do not all do what they should; each tells what became of it.

Job: {"fault": one of FAULTS, "root": folder}. Rank 1 is the one at fault, unless the fault says otherwise.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.distributed.distributed_c10d import _set_pg_timeout

import equipoise as ep
from dist.checkpoint_weights import Place, Weights, mesh_of, optimizer_of
from dist.processes import job_of, say, world
from equipoise._errors import EquipoiseError
from equipoise.core.entry import RunnerChoice
from equipoise.core.optimizer import Optimizer
from equipoise.core.spread import local
from equipoise.dist.checkpoint import folder as folders
from equipoise.dist.checkpoint import load, newest, save, saving
from equipoise.dist.wire import Wire

SOON = 3.0  # seconds after which a process that hangs is given up, once all are known to be there
ROOT = Path()


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(*_: object, **__: object) -> None:
    time.sleep(600)


@contextmanager
def telling(what: str, more: Callable[[], dict[str, Any]] = dict):
    """Say the error that comes of it."""
    try:
        yield
        say(what=what, error=None, text="", **more())
    except EquipoiseError as error:
        say(what=what, error=type(error).__name__, text=str(error), **more())


def two_steps(name: str, rank: int, place: Place, kind: str, act: Callable[..., None]) -> None:
    """A good step; then one in which rank 1 does something else instead of its first collective of that kind."""
    model = Weights(place)
    optimizer = optimizer_of(name, model)
    model.train_by(optimizer, 1, 1)
    torch_dist.barrier()
    _set_pg_timeout(timedelta(seconds=SOON))
    if rank == 1:
        setattr(Wire, kind, act)
    with telling("second step"):
        model.train_by(optimizer, 2, 2)


def half_a_step(rank: int, place: Place) -> None:
    """A saved step; then one in which rank 1 dies in a sum that compiled phases have written state before."""
    model = Weights(place)
    optimizer = optimizer_of("lamb", model, runner="fused")
    optimizer._choice = RunnerChoice("fused", "test", backend="eager")
    model.train_by(optimizer, 1, 1)
    save(ROOT, model=model, optimizer=optimizer, step=1)
    kept = [local(p.detach()).clone() for p in model.tensors]
    momenta = [local(own["exp_avg"]).clone() for own in optimizer.state.values()]
    saved = copy.deepcopy(optimizer.state_dict())
    torch_dist.barrier()
    _set_pg_timeout(timedelta(seconds=SOON))
    if rank == 1:
        _die_within(Wire)
    moved = lambda: any(
        not torch.equal(m, local(own["exp_avg"])) for m, own in zip(momenta, optimizer.state.values(), strict=True)
    )
    same = lambda: all(torch.equal(a, local(p.detach())) for a, p in zip(kept, model.tensors, strict=True))
    with telling("second step", lambda: {"same": same(), "ahead": moved()}):
        model.train_by(optimizer, 2, 2)
    for what, act in (("step", optimizer.step), ("state_dict", optimizer.state_dict)):
        with telling(what, lambda: {"same": same()}):
            act()
    optimizer.load_state_dict(saved)
    with telling("loaded", lambda: {"same": same(), "ahead": moved()}):
        optimizer.state_dict()


def _die_within(wire: type[Wire]) -> None:
    """In the next collective: this process is gone while the others wait in it."""

    def send(self: Wire, *_: object) -> None:
        time.sleep(SOON / 3)
        die()

    wire._send = send  # type: ignore[method-assign, assignment]


def in_a_save(target: Any, attribute: str, guilty: int, rank: int, place: Place) -> None:
    """A good save; then one in which a process dies; what can be loaded is said by the test itself."""
    model = Weights(place)
    optimizer = optimizer_of("soap", model)
    model.train_by(optimizer, 1, 1)
    save(ROOT, model=model, optimizer=optimizer, step=1)
    model.train_by(optimizer, 2, 2)
    if rank == guilty:
        setattr(target, attribute, die)
    with telling("second save"):
        save(ROOT, model=model, optimizer=optimizer, step=2)


def first_steps(rank: int, place: Place) -> None:
    """Every way in which rank 1 may have been started differently."""
    odd = rank == 1

    def step(what: str, optimizer: Optimizer, model: Weights) -> None:
        with telling(what):
            model.train_by(optimizer, 1, 1)

    model = Weights(place)
    step("lr", ep.optim.AdamW(model.parameters(), lr=0.2 if odd else 0.1), model)
    parts = [*([] if odd else [ep.stages.centralize()]), ep.stages.sign(), ep.stages.apply()]
    step("chain", Optimizer(model.parameters(), ep.chain(*parts, hyper={"lr": 0.1})), model)
    named = [(f"{'decoder' if odd else 'encoder'}.{i}", p) for i, p in enumerate(model.parameters())]
    step("model", ep.optim.AdamW(named), model)
    step("runner", ep.optim.AdamW(model.parameters(), runner="blocked" if odd else "reference"), model)
    ep.__version__, version = "0.0.9" if odd else ep.__version__, ep.__version__
    step("version", ep.optim.AdamW(model.parameters()), model)
    ep.__version__ = version
    step("nothing", ep.optim.AdamW(model.parameters()), model)


def damaged(rank: int, place: Place) -> None:
    """A shard of another process has a wrong bit: all say so; and saves in which one process has other values."""
    model = Weights(place)
    optimizer = optimizer_of("muon", model)
    model.train_by(optimizer, 1, 1)
    for step in (1, 2):
        save(ROOT, model=model, optimizer=optimizer, step=step)
    if rank == 1:
        shard = next(ROOT.glob("save-000002/__1_*"))
        content = bytearray(shard.read_bytes())
        content[len(content) // 3] ^= 4
        shard.write_bytes(content)
    torch_dist.barrier()
    before = [t.clone() for t in model.whole()]
    with telling("load", lambda: {"same": all(map(torch.equal, before, model.whole()))}):
        load(ROOT, model=model, optimizer=optimizer)
    assert load(folders.saves(ROOT)[0], model=model, optimizer=optimizer).step == 1
    optimizer.param_groups[0]["lr"] = 0.5 if rank else 0.25
    with telling("save"):
        save(ROOT, model=model, optimizer=optimizer)
    own = nn.ModuleDict({}) if rank else nn.ModuleDict({"a": nn.Linear(1, 1)})
    with telling("models"):
        save(ROOT / "other", model=own)
    assert newest(ROOT) == ROOT / "save-000002"


def patience(rank: int, place: Place) -> None:
    """Groups of some processes wait as long as the group of all."""
    device = torch.device("cpu")
    own = Wire().group([rank])._get_backend(device).options._timeout
    say(seconds=own.total_seconds())


FAULTS: dict[str, Callable[[int, Place], None]] = {
    "killed, all-reduce": lambda rank, place: two_steps("lamb", rank, place, "all_reduce", die),
    "killed, all-to-all": lambda rank, place: two_steps("muon", rank, place, "all_to_all", die),
    "killed, half a step": half_a_step,
    "hung": lambda rank, place: two_steps("lamb", rank, place, "all_reduce", hang),
    "save: shards": lambda rank, place: in_a_save(saving, "torch_save", 1, rank, place),
    "save: values": lambda rank, place: in_a_save(saving, "_finish", 1, rank, place),
    "save: manifest": lambda rank, place: in_a_save(folders, "publish", 0, rank, place),
    "save: pointer": lambda rank, place: in_a_save(folders, "_point_at", 0, rank, place),
    "first steps": first_steps,
    "damaged": damaged,
    "patience": patience,
}

if __name__ == "__main__":
    job = job_of()
    ROOT = Path(job["root"])
    with world(job["patience"]) as (own, size):
        FAULTS[job["fault"]](own, ("rows", mesh_of("rows", size)))
        sys.stdout.flush()
        os._exit(0)  # a group in which somebody died cannot be taken down in order
