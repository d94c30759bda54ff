"""Which runner an optimizer uses: decided once, printed, and kept for the life of the run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from equipoise._errors import ArgumentError
from equipoise.core.entry import RunnerChoice
from equipoise.core.kernels import why_not_compile

RUNNERS = ("auto", "reference", "blocked", "fused")
FUSED_FROM = 5_000_000
_REFUSED = {
    "capturable": "steps are not captured in CUDA graphs",
    "differentiable": "the step runs without autograd",
    "foreach": "there is no foreach path; runner='fused' is the fast one",
}


def read_switches(switches: dict[str, object], runner: str) -> str:
    """Torch's implementation switches: `fused=True` asks for the fused runner; what cannot be done is refused by name.

    Raises:
        ArgumentError: a switch that is refused, or an argument that nobody knows.
    """
    for name, value in switches.items():
        if name not in (*_REFUSED, "fused"):
            raise TypeError(f"unexpected keyword argument {name!r}")
        if name in _REFUSED and value:
            raise ArgumentError(name, value, "None or False", f"Leave it out: {_REFUSED[name]}.")
    fused = switches.get("fused")
    if fused and runner == "auto":
        return "fused"
    return "blocked" if fused is False and runner == "auto" else runner


def chosen(asked: str, groups: Sequence[Mapping[str, Any]]) -> RunnerChoice:
    """The runner for these groups: what was asked for, else what a saved run had, else what fits their size."""
    numel = sum(p.numel() for group in groups for p in group["params"])
    device = next((p.device for group in groups for p in group["params"]), torch.device("cpu"))
    saved = next((group["runner"] for group in groups if group.get("runner")), "auto")
    return choose(saved if asked == "auto" else asked, numel, device)


def choose(asked: str, numel: int, device: torch.device) -> RunnerChoice:
    """The runner for `numel` parameters. Warns when a compiler is wanted but missing."""
    size = f"{numel:,} parameters"
    if asked == "reference" or asked == "blocked":
        return RunnerChoice(asked, "asked for")
    if asked == "auto" and numel < FUSED_FROM:
        return RunnerChoice("blocked", f"{size}, compiled from {FUSED_FROM:,} up")
    obstacle = why_not_compile(device)
    if obstacle is None:
        why = "asked for" if asked == "fused" else size
        return RunnerChoice("fused", f"{why}, compiled")
    if "EQUIPOISE_COMPILE" not in obstacle:
        warnings.warn(f"equipoise: the fused runner is off, steps run eagerly in slices: {obstacle}.", stacklevel=2)
    return RunnerChoice("blocked", obstacle)
