"""Run stores and a comparison made up for tests of the page: three arms over three seeds of a small GPT."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import torch

from equipoise.doctor.described import describe_optimizer
from equipoise.doctor.store import RunStore

ARMS = (
    ("adam_l2", "Adam, decay in the gradient", 2.89),
    ("adamw", "AdamW", 2.44),
    ("no_decay", "AdamW, no decay", 2.45),
)
SEEDS = (0, 1, 2)
STEPS, EVERY, BLOCKS = 300, 20, 4


def tensor_names(blocks: int = BLOCKS) -> list[str]:
    inner = (
        "norm1.weight",
        "attention.qkv.weight",
        "attention.out.weight",
        "norm2.weight",
        "feed.up.weight",
        "feed.down.weight",
    )
    return ["embed.weight", *(f"blocks.{b}.{n}" for b in range(blocks) for n in inner), "norm.weight", "head.weight"]


def make_run(
    folder: Path, *, label: str = "AdamW", seed: int = 0, end: float = 2.44, extra: dict[str, object] | None = None
) -> Path:
    """A store with every metric the page knows."""
    draw = random.Random(f"{label}{seed}")
    names = tensor_names()
    coupled = "in the gradient" in label
    made = torch.optim.Adam if coupled else torch.optim.AdamW
    optimizer = made([torch.zeros(1, requires_grad=True)], lr=1e-3, weight_decay=0.1)
    predicted = {"weight_norm": 5.0, "rotation": 3e-3, "steps_to_equilibrium": 5000}
    meta: dict[str, object] = {
        "label": label,
        "seed": seed,
        "every": EVERY,
        "model": {"name": "GPT", "parameters": 870_400},
        "data": "python",
        "optimizer": describe_optimizer(optimizer),
        "parameters": {n: _facts(n) for n in names},
        "versions": {"torch": "2.13.0", "python": "3.11.2"},
        "overhead": {"seconds": 0.21, "share": 0.0083},
        "predictions": {n: {**predicted, "scale_invariant": "qkv" in n} for n in names},
        "total_steps": STEPS,
        **({} if coupled else {"timescale": {"steps": 10_000.0, "epochs": 3.1, "horizon": 0.015, "survival": 0.985}}),
        **(extra or {}),
    }
    with RunStore.create(folder, meta) as store:
        for step in range(5, STEPS + 1, 5):
            _write_loss(store, draw, step, end)
        for step in range(EVERY, STEPS + 1, EVERY):
            _write_tensors(store, draw, step, names, growth=0.2 if end < 2.6 else 1.0)
            _write_layers(store, draw, step)
        store.event(STEPS, "note", "finished")
    return folder


def _facts(name: str) -> dict[str, object]:
    gain = "norm" in name
    owner = "LayerNorm" if gain else "Embedding" if "embed" in name else "Linear"
    return {"shape": [128] if gain else [128, 128], "group": 0, "dtype": "float32", "owner": owner}


def _write_loss(store: object, draw: random.Random, step: int, end: float) -> None:
    loss = end + (5.6 - end) * math.exp(-step / 60) + draw.gauss(0, 0.03)
    store.write(step, "loss", loss)
    store.write(step, "lr", 1e-3 * min(step / 30, 1) * (0.55 + 0.45 * math.cos(math.pi * step / STEPS)))
    store.write(step, "grad_norm_total", 0.4 + 3 * math.exp(-step / 40) + abs(draw.gauss(0, 0.05)))
    if step % 50 == 0:
        store.write(step, "val_loss", loss + 0.05)


def _write_tensors(store: object, draw: random.Random, step: int, names: list[str], growth: float) -> None:
    for i, name in enumerate(names):
        start = 11.3 if "norm" in name else 2.0 + 9 * ((i * 7) % 5) / 5
        rise = 1 + growth * (0.2 + (i % 6) / 6) * step / STEPS
        store.write(step, "weight_norm", start * rise, name)
        store.write(step, "grad_norm", 0.1 * math.exp(draw.gauss(0, 0.2)), name)
        store.write(
            step, "update_ratio", 3e-3 / rise * math.exp(draw.gauss(0, 0.15)) * (0.1 if "norm" in name else 1), name
        )
        store.write(step, "rotation", 4e-3 / rise * math.exp(draw.gauss(0, 0.05)), name)
        store.write(step, "decay_share", 0.02 + 0.1 * growth * step / STEPS, name)
        store.write(step, "eps_underflow", 0.3 * step / STEPS if name == "embed.weight" else 0.0, name)
        if "norm" not in name:
            store.write(step, "predicted_weight_norm", 0.07 * 128 * (1 + i % 3), name)
            store.write(step, "predicted_rotation", 3.2e-3, name)


def _write_layers(store: object, draw: random.Random, step: int) -> None:
    for b in range(BLOCKS):
        store.write(step, "attention_entropy", 0.95 - 0.12 * b * step / STEPS, f"blocks.{b}.attention")
        store.write(step, "attention_max_logit", 0.5 + (1 + b) * 3 * step / STEPS, f"blocks.{b}.attention")
        store.write(step, "stream_rms", 1 + 0.4 * (b + 1) * (1 + step / STEPS), f"blocks.{b}")
        store.write(step, "dead_units", 0.0, f"blocks.{b}.feed")
    store.write(step, "logit_max", 1 + 8 * step / STEPS)
    store.write(step, "logit_range", 2 + 20 * step / STEPS)
    store.write(step, "log_partition", 5.5 + draw.gauss(0, 0.1))
    store.write(step, "step_seconds", 0.09)
    store.write(step, "watch_seconds", 0.02)


def make_comparison(folder: Path, arms: tuple[tuple[str, str, float], ...] = ARMS) -> Path:
    """A comparison's folder as `equipoise compare` leaves it: a run per arm and seed, and comparison.json."""
    values = {
        n: [round(end + 0.02 * s - 0.015 * (i + s) % 0.04, 4) for s in SEEDS] for i, (n, _, end) in enumerate(arms)
    }
    for name, label, end in arms:
        for seed in SEEDS:
            make_run(folder / f"{name}-{seed}", label=label, seed=seed, end=end)
    base = arms[0][0]
    plain = {
        "metric": "val_loss",
        "budget": {"steps": STEPS},
        "seeds": list(SEEDS),
        "arms": [_arm(name, label, values[name]) for name, label, _ in arms],
        "paired": [_pair(name, base, values) for name, _, _ in arms[1:]],
        "note": "",
    }
    (folder / "comparison.json").write_text(json.dumps(plain))
    return folder


def _interval(values: list[float]) -> tuple[float, float, float]:
    mean = sum(values) / len(values)
    half = 4.303 * math.sqrt(sum((v - mean) ** 2 for v in values) / 2 / 3)  # t for 2 degrees of freedom
    return mean, mean - half, mean + half


def _arm(name: str, label: str, values: list[float]) -> dict[str, object]:
    mean, low, high = _interval(values)
    runs = [f"{name}-{seed}" for seed in SEEDS]
    return {"name": name, "label": label, "values": values, "mean": mean, "low": low, "high": high, "runs": runs}


def _pair(name: str, base: str, values: dict[str, list[float]]) -> dict[str, object]:
    mean, low, high = _interval([a - b for a, b in zip(values[name], values[base], strict=True)])
    return {"arm": name, "baseline": base, "mean_difference": mean, "low": low, "high": high, "p_value": 0.0031, "n": 3}
