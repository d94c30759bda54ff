"""Run in several processes: ready optimizers on parameters cut over a mesh, against the same steps of one process.

The job is a list of {layout, runner, dtype, steps, names} with, if other than SHAPES, `shapes`,
if compiled, the `backend`, and a `fault` of `seeded`. Says for each name how
far the two are apart, the collectives of the last step beside those that the chains ask for, and the bytes of exchanges
beside the least.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dist.counting import counted, expected, least_sent
from dist.layouts import SHAPES, Place, Shapes, cutter, distance, give_gradients, mesh_of, start, uncut
from dist.processes import job_of, note, say, world
from dist.seeded import seeded
from equipoise.core.entry import RunnerChoice
from equipoise.core.optimizer import Optimizer
from laws.subjects import chain_of


def trained(
    name: str, runner: str, place: Place, dtype: torch.dtype, steps: int, shapes: Shapes, backend: str = "aot_eager"
) -> tuple[list[Tensor], Optimizer]:
    """Parameters after some steps of a method at its oracle's values."""
    parameters = start(place, dtype, shapes)
    optimizer = Optimizer(parameters, chain_of(name), runner=runner)
    optimizer._choice = RunnerChoice(runner, "test", backend=backend)
    for step in range(steps):
        give_gradients(parameters, place, step)
        optimizer.step()
    return parameters, optimizer


@cache
def alone(name: str, dtype: torch.dtype, steps: int, shapes: Shapes) -> list[Tensor]:
    """What the slow honest runner makes of whole tensors."""
    return trained(name, "reference", uncut, dtype, steps, shapes)[0]


def compared(job: dict, name: str, place: Place) -> None:
    """Say what became of one method."""
    dtype, shapes = getattr(torch, job["dtype"]), tuple(map(tuple, job.get("shapes", SHAPES)))
    with least_sent() as least, seeded(job.get("fault")):
        backend = job.get("backend", "aot_eager")
        ours, optimizer = trained(name, job["runner"], place, dtype, job["steps"], shapes, backend)
    sent = counted(optimizer)
    say(
        **{key: job[key] for key in ("layout", "runner", "dtype")},
        name=name,
        tensors=len(shapes),
        error=distance(ours, alone(name, dtype, job["steps"], shapes)),
        sent=sent,
        expected=expected(optimizer),
        bytes=[sum(n for kind, _, n in sent if kind == "all-to-all"), sum(least) / job["steps"]],
    )


def main() -> None:
    with world() as (_, size):
        for job in job_of():
            place = cutter(job["layout"], mesh_of(job["layout"], size))
            for name in job["names"]:
                note(f"{name}: " + ", ".join(str(job[key]) for key in ("layout", "runner", "dtype", "steps")))
                compared(job, name, place)


if __name__ == "__main__":
    main()
