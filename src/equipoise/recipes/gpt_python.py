"""A 0.87 M-parameter GPT on the bytes of the Python standard library's own sources: the default, always there."""

from __future__ import annotations

from equipoise._card import method
from equipoise.recipes.data import TextData
from equipoise.recipes.models import GPTSpec
from equipoise.recipes.recipe import Recipe


@method(kind="recipe", see_also=("gpt_bible",))
def gpt_python() -> Recipe:
    """Four blocks, width 128, Peri-LN, 128 bytes of context; AdamW."""
    return Recipe("gpt_python", model=GPTSpec(), data=TextData("python"), lr=3e-3, weight_decay=0.1, steps=300)
