"""A two-hidden-layer perceptron on scikit-learn's 8 x 8 digits: seconds on any machine."""

from __future__ import annotations

from equipoise._card import method
from equipoise.recipes.data import ImageData
from equipoise.recipes.models import MLPSpec
from equipoise.recipes.recipe import Recipe


@method(kind="recipe", see_also=("cnn_mnist5k",))
def mlp_digits() -> Recipe:
    """Hidden layers of 128, batches of 64 images; AdamW."""
    data, model = ImageData("digits"), MLPSpec()
    return Recipe("mlp_digits", model, data, lr=1e-3, weight_decay=0.01, batch_size=64, steps=300)
