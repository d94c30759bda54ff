"""A small convolutional network with BatchNorm: three stages of conv, norm, ReLU, each followed by pooling.

Source: Ioffe & Szegedy 2015, arXiv 1502.03167, for the place of the norm (between convolution and nonlinearity).
Symbols: images [B, C, H, W] -> logits [B, classes].
Convolutions carry no bias: BatchNorm subtracts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from equipoise._errors import ArgumentError
from equipoise.recipes.data import Batches, ImageBatches


@dataclass(frozen=True)
class CNNSpec:
    """`channels` of the stages; each stage halves height and width. Classes come from the data."""

    channels: tuple[int, ...] = (16, 32, 64)

    def build(self, data: Batches) -> CNN:
        """The model for this data. Raises ArgumentError when the data is not images or too small for the stages."""
        if not isinstance(data, ImageBatches):
            raise ArgumentError("data", type(data).__name__, "images (ImageData) for a CNN")
        side = min(data.images.shape[-2:])
        if side < 2 ** len(self.channels):
            raise ArgumentError("channels", self.channels, f"at most {side.bit_length() - 1} stages on {side} pixels")
        return CNN((data.images.shape[1], *self.channels), classes=data.classes)


class CNN(nn.Module):
    """Images `[B, C, H, W]` to logits `[B, classes]`; `channels` starts with the input's."""

    def __init__(self, channels: tuple[int, ...], *, classes: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(_stage(inner, outer) for inner, outer in pairwise(channels)))
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]`."""
        return self.head(self.stages(images).mean((-2, -1)))


def _stage(inner: int, outer: int) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU(), nn.MaxPool2d(2))
