"""Small models and data for the doctor's tests: a byte GPT on Python source, an MLP on digits, a net with BatchNorm."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from equipoise.doctor.watch import Watch, watch

VOCABULARY = 128
Loop = Callable[[nn.Module, torch.optim.Optimizer, int], None]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, width: int = 32, blocks: int = 2, heads: int = 4, context: int = 32) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def gpt(seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT()


def mlp(seed: int = 0, width: int = 32) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def normalised_net(seed: int = 0) -> nn.Sequential:
    """Dropout and BatchNorm: everything a careless watch would disturb. The first two weights are scale-invariant."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(64, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 16, bias=False),
        nn.LayerNorm(16, elementwise_affine=False),
        nn.Linear(16, 10),
    )
    nn.init.normal_(net[1].bias)  # with a bias of zeros even the gain of this BatchNorm would be scale-invariant
    return net


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 16, torch.tensor(found.target)


@cache
def source_text() -> torch.Tensor:
    text = inspect.getsource(argparse).encode()
    return torch.tensor([min(byte, VOCABULARY - 1) for byte in text])


def digits_batch(step: int, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    pick = torch.randint(len(digits()[0]), (size,), generator=torch.Generator().manual_seed(step))
    return digits()[0][pick], digits()[1][pick]


def text_batch(step: int, size: int = 8, context: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(len(source_text()) - context - 1, (size,), generator=generator)
    rows = torch.stack([source_text()[s : s + context + 1] for s in starts])
    return rows[:, :-1], rows[:, 1:]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, watched: Watch | None = None) -> list[float]:
    """A plain loop on digits or text, logging the loss."""
    text = isinstance(model, GPT)
    losses = []
    for step in range(steps):
        x, y = text_batch(step) if text else digits_batch(step)
        loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if watched is not None:
            watched.log(loss=loss)
    return losses


def record(
    run_dir: Path, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, every: int = 5, **more: object
) -> Path:
    """Train under a watch with everything that a watch can be given."""
    x = text_batch(10_000)[0] if isinstance(model, GPT) else digits_batch(10_000)[0]
    known = {"total_steps": steps, "steps_per_epoch": 28.0, "forward_every": every, "max_share": 1e9, **more}
    with watch(model, optimizer, run_dir=run_dir, every=every, inputs=x, **known) as w:  # pyright: ignore
        train(model, optimizer, steps, w)
    return run_dir
