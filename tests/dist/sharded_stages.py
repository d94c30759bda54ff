"""Run in several processes: chains of single stages on parameters cut over a mesh, against one process.

The job is a list of {layout, runner, names, steps}, with a `fault` of `seeded` if any; see CHAINS. Says of each chain
how far the two are apart, and how far the weights moved.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import equipoise as ep
from dist.layouts import Place, cutter, distance, give_gradients, mesh_of, noise, uncut
from dist.processes import job_of, note, say, world
from dist.seeded import seeded
from equipoise.core.chain import Chain
from equipoise.core.entry import RunnerChoice
from equipoise.core.optimizer import Optimizer
from equipoise.core.stage import Stage
from laws.subjects import chain_of

S = ep.stages
# As `layouts.SHAPES`: what two and four do not divide, fewer rows than processes, one element, none.
SHAPES = ((33, 5), (2, 9), (7,), (4, 3, 2, 2), (1, 1), (12, 8), (16, 6), (3,), (), (0, 3))
PRUNED = 0.3  # smaller weights are 0 at the start
_MOMENTUM = {"lr": 0.05, "momentum": 0.8}
_ADAM = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0.1}


def descent(*, first: tuple[Stage, ...] = (), then: tuple[Stage, ...] = (), last: tuple[Stage, ...] = ()) -> Chain:
    """Momentum, with stages before it, after it, and after the step."""
    return ep.chain(*first, S.heavy_ball(dampened=False), *then, S.apply(), *last, hyper=_MOMENTUM)


def by_matrices(*, first: tuple[Stage, ...] = (), then: tuple[Stage, ...] = (), last: tuple[Stage, ...] = ()) -> Chain:
    """The same for tensors that are matrices; the others have momentum alone."""
    parts = (*first, S.heavy_ball(dampened=False), *then, S.apply(), *last)
    return ep.chain(*parts, hyper=_MOMENTUM, otherwise=descent())


def low_rank() -> Chain:
    """Directions of rank 2 that are found anew in every third step."""
    words = {"rank": 2, "scale": 0.5, "refresh_every": 3}
    return ep.chain(S.low_rank_adam(), S.apply(), hyper={**_ADAM, **words}, otherwise=ep.optim.adam(lr=0.05))


def d_adapted(bias_correction: bool) -> Chain:
    """At the values of its oracle, at which the estimate rises although gradients are noise."""
    return chain_of("dadapt_adam", bias_correction=bias_correction)


def sphere(scope: str, foreseen: bool) -> Chain:
    """Directions and weights on spheres, of tensors or of rows."""
    ahead = (S.sphere_step(foresee=foreseen, scope=scope),)
    return descent(first=(S.radius(scope=scope),), then=ahead, last=(S.renorm(foreseen=foreseen, scope=scope),))


def tangent(scope: str) -> Chain:
    first = (S.radius(scope=scope), S.to_tangent(of="g", scope=scope))
    return descent(first=first, then=(S.to_tangent(of="u", scope=scope),), last=(S.renorm(scope=scope),))


CHAINS = {
    "clip_global": lambda: descent(first=(S.clip_global(most=2.0),)),
    "clip_global that never clips": lambda: descent(first=(S.clip_global(most=1e6),)),
    "box": lambda: descent(last=(S.box(low=-0.3, high=0.5),)),
    "cap_rows": lambda: descent(last=(S.cap_rows(most=0.4),)),
    "keep_pattern": lambda: by_matrices(last=(S.keep_pattern(pattern="2:4"),)),
    "freeze_zeros": lambda: ep.chain(S.freeze_zeros(), ep.optim.lamb(lr=0.05, weight_decay=0.1)),
    "spectral_hard": lambda: by_matrices(then=(S.spectral_hard(most=1.5),)),
    "spectral_hard of gradients": lambda: by_matrices(first=(S.spectral_hard(most=1.5, of="gradient"),)),
    "gradient_distance": lambda: ep.optim.dog(lr=1.0, weight_decay=0.1, first=1e-2),
    "gradient_distance of tensors": lambda: ep.optim.dog(lr=1.0, weight_decay=0.1, first=1e-2, scope="tensor"),
    "orthogonalize by svd": lambda: by_matrices(then=(S.orthogonalize(coefficients="svd", scale="spectral"),)),
    "squash": lambda: descent(first=(S.squash(),)),
    "squash tanh": lambda: descent(first=(S.squash(kind="tanh"),)),
    "squash power": lambda: descent(first=(S.squash(kind="power", power=0.6),)),
    "spheres": lambda: sphere("tensor", foreseen=True),
    "spheres of rows": lambda: sphere("row", foreseen=False),
    "spheres of rows foreseen": lambda: sphere("row", foreseen=True),
    "tangents of rows": lambda: tangent("row"),
    "unit_length": lambda: descent(then=(S.unit_length(),)),
    "unit_length of rows": lambda: descent(then=(S.unit_length(scope="row"),)),
    "low_rank_adam": low_rank,
    "d_adaptation": lambda: d_adapted(bias_correction=False),
    "d_adaptation, corrected": lambda: d_adapted(bias_correction=True),
    "normalize_columns": lambda: by_matrices(then=(S.normalize_columns(),)),
    "normalize_columns, bounded": lambda: by_matrices(then=(S.normalize_columns(most=0.5),)),
}


def begin(place: Place) -> list[Tensor]:
    """Weights of which some are 0; of the second tensor the whole first row."""
    drawn = [torch.where(t.abs() < PRUNED, torch.zeros_like(t), t) for t in noise(3, torch.float64, SHAPES)]
    drawn[1][0] = 0.0
    return [place(t, i).requires_grad_() for i, t in enumerate(drawn)]


def trained(name: str, runner: str, place: Place, steps: int) -> list[Tensor]:
    """Weights after some steps of one chain."""
    parameters = begin(place)
    optimizer = Optimizer(parameters, CHAINS[name](), runner=runner)
    optimizer._choice = RunnerChoice(runner, "test", backend="eager")
    for step in range(steps):
        give_gradients(parameters, place, step)
        optimizer.step()
    return parameters


@cache
def alone(name: str, steps: int) -> list[Tensor]:
    """What the slow honest runner makes of whole tensors."""
    return trained(name, "reference", uncut, steps)


def main() -> None:
    with world() as (_, size):
        for job in job_of():
            place = cutter(job["layout"], mesh_of(job["layout"], size))
            for name in job["names"]:
                note(f"{name}: {job['layout']}, {job['runner']}, {job['steps']} steps")
                with seeded(job.get("fault")):
                    ours = trained(name, job["runner"], place, job["steps"])
                whole = alone(name, job["steps"])
                say(
                    **{key: job[key] for key in ("layout", "runner")},
                    name=name,
                    error=distance(ours, whole),
                    moved=distance(begin(uncut), whole),
                )


if __name__ == "__main__":
    main()
