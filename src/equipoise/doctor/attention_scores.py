"""Attention scores before the softmax, rebuilt for a few query rows from what the model passes to attention."""

from __future__ import annotations

import math

import torch

from equipoise.doctor.probes.sample import MAX_ROWS, MIN_KEYS, AttentionView


def scores_of_call(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionView:
    """Scores of a call of `scaled_dot_product_attention`: query [..., T, E], key [..., S, E]; same arguments."""
    rows = pick_rows(query.shape[-2], query.device)
    q, k = query[..., rows, :].float(), key.float()
    if enable_gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        visible = torch.arange(key.shape[-2], device=rows.device) <= rows[:, None]
        scores = scores.masked_fill(~visible, -math.inf)
    if attn_mask is not None:
        scores = _masked(scores, attn_mask.expand(*attn_mask.shape[:-2], query.shape[-2], -1)[..., rows, :])
    return AttentionView(_four_axes(scores))


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf)
    hidden = mask < torch.finfo(mask.dtype).min / 2  # some libraries mask with the smallest number instead of -inf
    return (scores + mask.float()).masked_fill(hidden, -math.inf)


def scores_of_softmax(
    input: torch.Tensor,  # noqa: A002 - the name torch gives it
    dim: int | None = None,
    *_: object,
    heads_in_batch: bool = False,
    **__: object,
) -> AttentionView | None:
    """Scores given to a softmax, when it is attention: over the last axis of [B, H, T, S] (or [B*H, T, S])."""
    rank = 3 if heads_in_batch else 4
    if not isinstance(input, torch.Tensor) or input.ndim != rank or dim not in (-1, rank - 1):
        return None
    scores = input[..., pick_rows(input.shape[-2], input.device), :].float()
    hidden = scores < torch.finfo(input.dtype).min / 2
    return AttentionView(_four_axes(scores.masked_fill(hidden, -math.inf)))


def pick_rows(count: int, device: torch.device) -> torch.Tensor:
    """At most 64 query rows, evenly spaced over those that may see enough keys when attention is causal."""
    first = min(MIN_KEYS - 1, count - 1)
    return torch.linspace(first, count - 1, min(MAX_ROWS, count - first), device=device).round().long()


def _four_axes(scores: torch.Tensor) -> torch.Tensor:
    while scores.ndim < 4:
        scores = scores.unsqueeze(0)
    return scores.flatten(0, -4) if scores.ndim > 4 else scores
