"""A multi-layer perceptron with ReLU, on flattened images.

Symbols: images [B, C, H, W] -> logits [B, classes]. Initialization: He et al. 2015, arXiv 1502.01852, eq. 10; biases 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from equipoise._errors import ArgumentError
from equipoise.recipes.data import Batches, ImageBatches


@dataclass(frozen=True)
class MLPSpec:
    """Widths of the hidden layers. Inputs and classes come from the data."""

    hidden: tuple[int, ...] = (128, 128)

    def build(self, data: Batches) -> MLP:
        """The model for this data. Raises ArgumentError when the data is not images."""
        if not isinstance(data, ImageBatches):
            raise ArgumentError("data", type(data).__name__, "images (ImageData) for an MLP")
        return MLP((data.images[0].numel(), *self.hidden), classes=data.classes)


class MLP(nn.Module):
    """Images `[B, C, H, W]` to logits `[B, classes]`; `widths` starts with the number of inputs."""

    def __init__(self, widths: tuple[int, ...], *, classes: int) -> None:
        super().__init__()
        layers = [nn.Linear(inner, outer) for inner, outer in pairwise(widths)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)
        self.activations = nn.ModuleList(nn.ReLU() for _ in layers)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]`."""
        x = images.flatten(1)
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        return self.head(x)
