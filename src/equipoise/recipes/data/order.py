"""Data order as a pure function of (seed, step): all arms of a comparison see the same, and a resume needs no state."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, *place: object) -> torch.Generator:
    """A generator whose stream depends only on the seed and the place (a purpose and a step or epoch)."""
    key = ":".join(map(str, (seed, *place))).encode()
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    return torch.Generator().manual_seed(number % 2**63)


def random_starts(seed: int, step: int, *, count: int, upper: int) -> Tensor:
    """`count` window starts in [0, upper) for this step, int64 `[count]`."""
    return torch.randint(upper, (count,), generator=generator(seed, "windows", step))


def shuffled_indices(seed: int, step: int, *, batch: int, examples: int) -> Tensor:
    """The example numbers of step 1, 2, ...: each epoch is one fresh permutation; a last short batch is left out."""
    per_epoch = max(examples // batch, 1)
    epoch, position = divmod(step - 1, per_epoch)
    order = torch.randperm(examples, generator=generator(seed, "epoch", epoch))
    return order[position * batch : (position + 1) * batch]
