"""From a recipe's words to the learning rate at each step of a run."""

from __future__ import annotations

from equipoise._errors import ArgumentError, near
from equipoise.core import schedule
from equipoise.recipes.recipe import Recipe

SCHEDULES = ("constant", "warmup", "cosine", "wsd")
FINAL = 0.1  # share of the peak that cosine and wsd keep at the end: the last steps still move
COOLDOWN = 0.2  # share of the run that wsd spends going down


def lr_schedule(recipe: Recipe, total_steps: int) -> schedule.Schedule:
    """The recipe's learning rate for steps 1 ... total_steps. A warm-up longer than the run is cut to it.

    Raises ArgumentError with near names for an unknown schedule.
    """
    warmup, final = min(recipe.warmup, total_steps), FINAL * recipe.lr
    if recipe.schedule == "constant":
        return schedule.constant(recipe.lr)
    if recipe.schedule == "warmup":
        return schedule.warmup(recipe.lr, steps=max(warmup, 1))
    if recipe.schedule == "cosine":
        return schedule.cosine(recipe.lr, total_steps=total_steps, warmup_steps=warmup, final=final)
    if recipe.schedule == "wsd":
        down = max(1, min(round(COOLDOWN * total_steps), total_steps - warmup))
        warmup = min(warmup, total_steps - down)
        return schedule.wsd(recipe.lr, total_steps=total_steps, warmup_steps=warmup, decay_steps=down, final=final)
    raise ArgumentError("schedule", recipe.schedule, "a known schedule", near(recipe.schedule, list(SCHEDULES)))
