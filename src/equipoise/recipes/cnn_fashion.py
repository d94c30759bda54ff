"""A small BatchNorm CNN on Fashion-MNIST (Debian package `dataset-fashion-mnist`), SGD with momentum."""

from __future__ import annotations

from equipoise._card import method
from equipoise.recipes.data import ImageData
from equipoise.recipes.models import CNNSpec
from equipoise.recipes.recipe import Recipe


@method(kind="recipe", see_also=("cnn_mnist5k",))
def cnn_fashion() -> Recipe:
    """Three stages of 16, 32 and 64 channels, batches of 64 images; SGD with momentum 0.9."""
    data, model = ImageData("fashion"), CNNSpec()
    return Recipe(
        "cnn_fashion", model, data, optimizer="sgd", lr=0.1, weight_decay=5e-4, batch_size=64, steps=938, eval_every=200
    )
