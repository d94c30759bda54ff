"""What the laws run over: every registered optimizer, at values that make each of its terms matter."""

from __future__ import annotations

import importlib

import numpy as np
import torch

from equipoise._card import Card, cards

OPTIMS = {card.name: card for card in cards("optim")}
SHAPES = [(1, 1), (5, 3), (63, 60), (4, 3, 2, 2), (), (7,), (0, 3)]
# Non-default values under factory names, so that decay, momentum and both betas all show.
VALUES: dict[str, dict[str, object]] = {
    "sgd": {"lr": 0.05, "momentum": 0.8, "dampening": 0.1, "weight_decay": 0.1},
    "sgdw": {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.02},
    "adam": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "adam_l2": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "adamw": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "grams": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "cautious_adamw": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    # delta large enough that rows, whole tensors and neither all occur
    "adamp": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "delta": 0.9},
    "lion": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "adamc": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.5},
    "lamb": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "lars": {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "trust_coefficient": 0.3},
    "novograd": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "sgdp": {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "delta": 0.9},
    "nadam": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "momentum_decay": 0.1},
    # beta2 such that the denominator comes in at step 6
    "radam": {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "rmsprop": {"lr": 0.02, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.8, "centered": True},
    "adagrad": {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3},
}


def chain_of(name: str, **changes):
    """The chain of an optimizer at its test values."""
    assert OPTIMS[name].factory is not None
    return OPTIMS[name].factory(**{**VALUES.get(name, {}), **changes})


def oracle_of(card: Card):
    """The NumPy twin of a method. Absence is an error: there are no methods without an oracle."""
    return importlib.import_module(f"oracles.{card.kind}.{card.name}").run


def start(shapes=SHAPES, *, dtype=torch.float64, seed=0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return [torch.nn.Parameter(value.to(dtype)) for value in values]


def gradients(parameters, step: int) -> list[torch.Tensor]:
    """Gradients of a fixed sequence of noise, the same for every runner and dtype."""
    generator = torch.Generator().manual_seed(1000 + step)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype) for p in parameters]


def train(optimizer, parameters, steps, first: int = 0) -> None:
    for step in range(first, first + steps):
        for p, g in zip(parameters, gradients(parameters, step), strict=True):
            p.grad = g
        optimizer.step()


def as_numpy(tensors) -> list[np.ndarray]:
    return [t.detach().double().numpy() for t in tensors]
