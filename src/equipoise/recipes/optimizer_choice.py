"""From a recipe's words to an optimizer over the model's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from equipoise._errors import ArgumentError, near
from equipoise.recipes.recipe import Recipe

# Until the library's own optimizers are here, torch's stand in for the three that it has.
_TORCH: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer on all parameters of the model, with the hyper-parameters that it has."""
    if recipe.optimizer not in _TORCH:
        raise ArgumentError("optimizer", recipe.optimizer, "a known optimizer", near(recipe.optimizer, list(_TORCH)))
    factory = _TORCH[recipe.optimizer]
    return factory(model.parameters(), **_accepted(factory, recipe))


def _accepted(factory: Callable[..., Any], recipe: Recipe) -> dict[str, Any]:
    """The recipe's hyper-parameters that the factory takes."""
    offered = {
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "betas": (recipe.beta1, recipe.beta2),
        "eps": recipe.eps,
        "momentum": recipe.momentum,
    }
    return {name: value for name, value in offered.items() if name in inspect.signature(factory).parameters}
