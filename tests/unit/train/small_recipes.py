"""Recipes small enough for tests: a few thousand parameters, a few steps, real data."""

from equipoise.recipes import Recipe
from equipoise.recipes.data import ImageData, TextData
from equipoise.recipes.models import CNNSpec, GPTSpec, MLPSpec


def tiny_mlp(**changes: object) -> Recipe:
    """An MLP on digits, 8 steps."""
    recipe = Recipe(
        "tiny_mlp", MLPSpec((16,)), ImageData("digits"), steps=8, warmup=2, eval_every=4, checkpoint_every=3
    )
    return recipe.with_(**{"watch_every": 4, **changes})


def tiny_cnn(**changes: object) -> Recipe:
    """A BatchNorm CNN on digits, 8 steps."""
    recipe = Recipe("tiny_cnn", CNNSpec((4, 8)), ImageData("digits"), optimizer="sgd", steps=8, checkpoint_every=3)
    return recipe.with_(**{"watch_every": 4, **changes})


def tiny_gpt(**changes: object) -> Recipe:
    """A GPT on 16-byte windows of Python, 8 steps."""
    data = TextData("python", context=16, windows=8)
    recipe = Recipe("tiny_gpt", GPTSpec(width=16, heads=2, layers=2), data, steps=8, batch_size=4, checkpoint_every=3)
    return recipe.with_(**{"watch_every": 4, **changes})
