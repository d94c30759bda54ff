"""How long the demo's runs may be on this machine, timed before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from equipoise.recipes import Recipe
from equipoise.train.evaluate import evaluate
from equipoise.train.session import open_session
from equipoise.train.trainer import make_step

MOST, FEWEST = 150, 120  # steps of a run: more adds nothing to the story, fewer hardly show the effect
BUDGET = 230.0  # seconds for everything, out of the five minutes that are promised
PAGE = 8.0  # seconds for the diagnoses and the page
WATCHING = 1.08  # the watch, the checkpoints and the logging beside bare steps


@dataclass(frozen=True)
class Plan:
    """Steps of every run, and seconds that all of it will take."""

    steps: int
    seconds: float


def make_plan(recipe: Recipe, runs: int, steps: int | None) -> Plan:
    """Time a few steps and one evaluation of the recipe, and fit `runs` runs into the budget (or take `steps`)."""
    step, evaluation = _timed(recipe)
    per_run = evaluation * (1 + MOST / recipe.eval_every)
    fitting = int((BUDGET - PAGE - runs * per_run) / (runs * step * WATCHING))
    chosen = steps or max(FEWEST, min(MOST, fitting))
    return Plan(chosen, PAGE + runs * (chosen * step * WATCHING + per_run))


def _timed(recipe: Recipe, *, warm: int = 3, timed: int = 10) -> tuple[float, float]:
    """Seconds of a step (mean of `timed`, after `warm` that do not count) and of an evaluation."""
    session = open_session(replace(recipe, seed=10**6))
    for _ in range(warm):
        make_step(session)
    begun = time.perf_counter()
    for _ in range(timed):
        make_step(session)
    step = (time.perf_counter() - begun) / timed
    begun = time.perf_counter()
    evaluate(session.model, session.held_out)
    return step, time.perf_counter() - begun
