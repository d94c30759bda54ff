"""Recipes by name, with overrides, as the command line writes them: `gpt_python:optimizer=adam,lr=1e-3`."""

from __future__ import annotations

from equipoise._card import find
from equipoise.recipes.override import parse_overrides
from equipoise.recipes.recipe import Recipe


def named_recipe(text: str) -> Recipe:
    """The recipe of that name with its overrides; the overrides become its label.

    Raises ArgumentError with near names for an unknown recipe or field.
    """
    name, _, overrides = text.partition(":")
    card = find(name.strip().replace("-", "_"), kind="recipe")
    assert card.factory is not None
    recipe: Recipe = card.factory()
    changes = parse_overrides(overrides)
    if not changes:
        return recipe
    label = f"{recipe.name}:" + ",".join(f"{key}={value}" for key, value in changes.items())
    return recipe.with_(**{"label": label, **changes})
