"""What a loaded data source offers to the trainer: batches by step number, and fixed held-out batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from equipoise._errors import ArgumentError
from equipoise.recipes.data.order import random_starts, shuffled_indices

Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """Inputs and targets of a task."""

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """Training batch of step 1, 2, ...; the same (step, size, seed) gives the same batch."""
        ...

    def held_out(self, size: int) -> list[Batch]:
        """The fixed held-out batches of at most `size` examples each; the examples do not depend on size or seed."""
        ...

    def steps_per_epoch(self, size: int) -> int:
        """Steps for one pass over the training data (at least 1)."""
        ...


@dataclass(frozen=True)
class TextBatches:
    """Next-token prediction. `train` and `validation` are token numbers `[tokens]`; a batch is two int64 `[B, T]`."""

    train: Tensor
    validation: Tensor
    vocab: int
    context: int
    windows: int

    def __post_init__(self) -> None:
        shortest = min(len(self.train), len(self.validation))
        if shortest <= self.context:
            raise ArgumentError("context", self.context, f"fewer than the {shortest} tokens of the shorter side")

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """`size` random windows `[B, T]`, and the same windows one token later."""
        starts = random_starts(seed, step, count=size, upper=len(self.train) - self.context)
        return self._windows(self.train, starts)

    def held_out(self, size: int) -> list[Batch]:
        """Windows spread evenly over the held-out text."""
        last = len(self.validation) - self.context - 1
        starts = torch.linspace(0, last, self.windows, dtype=torch.float64).long()
        return [self._windows(self.validation, part) for part in starts.split(size)]

    def steps_per_epoch(self, size: int) -> int:
        """Steps after which as many tokens were drawn as there are."""
        return max(len(self.train) // (size * self.context), 1)

    def _windows(self, tokens: Tensor, starts: Tensor) -> Batch:
        window = tokens[starts[:, None] + torch.arange(self.context + 1)].long()
        return window[:, :-1], window[:, 1:]


@dataclass(frozen=True)
class ImageBatches:
    """Classification. Images are float32 `[N, C, H, W]`, labels int64 `[N]`, for training and held out."""

    images: Tensor
    labels: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor
    classes: int

    def batch(self, step: int, *, size: int, seed: int) -> Batch:
        """The next `size` images of this epoch's order, and their labels."""
        chosen = shuffled_indices(seed, step, batch=size, examples=len(self.images))
        return self.images[chosen], self.labels[chosen]

    def held_out(self, size: int) -> list[Batch]:
        """All held-out images."""
        return list(zip(self.held_out_images.split(size), self.held_out_labels.split(size), strict=True))

    def steps_per_epoch(self, size: int) -> int:
        """Full batches in the training images."""
        return max(len(self.images) // size, 1)
