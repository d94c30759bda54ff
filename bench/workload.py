"""The work that optimizers are timed on: 24.6 M float32 parameters shaped like a 12-layer d=384 transformer."""

from __future__ import annotations

import torch
from torch import nn

WIDTH, LAYERS, VOCABULARY, CONTEXT = 384, 12, 8192, 512


def shapes() -> list[tuple[int, ...]]:
    """148 tensors: per block qkv, projection, two MLP matrices, their biases, two norms; embeddings; final norm."""
    d = WIDTH
    block = [(3 * d, d), (3 * d,), (d, d), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,), (d,), (d,), (d,), (d,)]
    return [*block * LAYERS, (VOCABULARY, d), (CONTEXT, d), (d,), (d,)]


def parameters(seed: int = 0) -> list[nn.Parameter]:
    """Parameters with fixed gradients; the same for every contender."""
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(0.02 * torch.randn(shape, generator=generator)) for shape in shapes()]
    for p in made:
        p.grad = 0.01 * torch.randn(p.shape, generator=generator)
    return made
