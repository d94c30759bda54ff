"""What the probes read: the scalars of one tensor on one sampled step, and one attention call of the probe forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from equipoise.doctor.adapter import GroupFacts


@dataclass(frozen=True)
class TensorSample:
    """Reductions of one parameter on one sampled step; every per-tensor probe is a formula in these.

    Attributes:
        numel: elements of the tensor.
        before: |w| before the step.
        after: |w| after the step.
        update: |dw|, decay included.
        update_dot: <w, dw> with w before the step.
        grad: |g| as the optimizer saw it (after unscaling and clipping); None for sparse gradients.
        grad_dot: <g, w>; None for sparse gradients.
        tiny_share: share of sampled coordinates with sqrt(v) < 10 eps (bias corrected); None without a second moment.
        root_median: median sqrt(v) of sampled coordinates (bias corrected); None without a second moment.
        facts: the hyper-parameters of its group at this step.
    """

    numel: int
    before: float
    after: float
    update: float
    update_dot: float
    grad: float | None
    grad_dot: float | None
    tiny_share: float | None
    root_median: float | None
    facts: GroupFacts


@dataclass(frozen=True)
class AttentionView:
    """Pre-softmax scores of one attention call, for at most 64 query rows.

    Attributes:
        scores: [B, H, R, S] in fp32, scale included; -inf where the key is hidden.
    """

    scores: torch.Tensor

    def visible(self) -> torch.Tensor:
        """Number of visible keys of each row, [B, H, R]."""
        return self.scores.isfinite().sum(-1)

    def head_entropy(self) -> torch.Tensor:
        """Mean of entropy / ln(visible) over rows with >= 8 visible keys, per head [H]; nan without such rows."""
        logs = self.scores.log_softmax(-1)
        entropy = -(logs.exp() * logs.masked_fill(logs.isneginf(), 0.0)).sum(-1)
        visible = self.visible()
        known = visible >= MIN_KEYS
        normal = (entropy / visible.clamp(min=2).log()).where(known, torch.zeros_like(entropy))
        return normal.sum((0, 2)) / known.sum((0, 2))


MIN_KEYS = 8  # rows that see fewer keys have little entropy to lose
MAX_ROWS = 64
