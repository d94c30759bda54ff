"""What an orthogonal direction of a matrix is multiplied by, from the matrix's shape.

Source     "original": Jordan's Muon. "match_rms_adamw": Liu et al. 2025, arXiv:2502.16982. "spectral": Bernstein and
           Newhouse 2024, arXiv:2409.20325. "update_norm": the same step length measured on the direction itself,
           arXiv:2502.16982, section 2.2. The words are torch.optim.Muon's where it has them.
Symbols    O: [matrices, rows, columns], of full rank and orthogonal: its mean square is 1 / max(rows, columns).
Rule       original:         sqrt(max(1, rows / columns))                               (1)
           match_rms_adamw:  0.2 sqrt(max(rows, columns)): root mean square 0.2         (2)
           spectral:         sqrt(rows / columns): norm 1 from RMS to RMS               (3)
           update_norm:      0.2 sqrt(rows columns) / |O|: as (2) whatever the rank     (4)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

RMS = 0.2

_FACTORS: dict[str, Callable[[int, int], float]] = {
    "none": lambda rows, columns: 1.0,
    "original": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: RMS * math.sqrt(max(rows, columns)),
    "spectral": lambda rows, columns: math.sqrt(rows / columns),
}
RULES = (*_FACTORS, "update_norm")


def shape_factor(rule: str, rows: int, columns: int) -> float:
    """Equations (1) to (3); 1 for "none", for "update_norm", and where a side is empty."""
    return 1.0 if rule == "update_norm" or 0 in (rows, columns) else _FACTORS[rule](rows, columns)


def scale_matrices(x: Tensor, rule: str) -> Tensor:
    """Equations (1) to (4) applied in place to a stack [matrices, rows, columns]."""
    rows, columns = x.shape[-2:]
    if rule != "update_norm":
        factor = shape_factor(rule, rows, columns)
        return x if factor == 1.0 else x.mul_(factor)
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=wide)
    return x.mul_(RMS * math.sqrt(rows * columns) / norm.clamp_min(torch.finfo(wide).tiny))
