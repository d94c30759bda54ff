"""Multi-head self-attention with slots for norms inside it (core_A of the block).

Source: Vaswani et al. 2017, arXiv 1706.03762, eq. 1; the inner slots follow QK-norm (Henry et al. 2020,
arXiv 2010.04245), NormFormer's head scale (Shleifer et al. 2021, arXiv 2110.09456) and Sub-LN's inner norm
(Wang et al. 2022, arXiv 2210.06423).

Symbols: h [B, T, D] input; H heads of size D/H; tau the softmax scale (1/sqrt(D/H) unless given).
Rule:
  (1) q, k, v = W_q h, W_k h, W_v h, split into heads; q <- N_q(q), k <- N_k(k), v <- N_v(v) over the head axis
  (2) o_i = softmax(tau q_i k_i^T + mask) v_i
  (3) o_i <- gamma_i o_i
  (4) u = W_o N_inner(concat o)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise._errors import ArgumentError
from equipoise.nn.norm_kinds import NormKind, build_norm


@dataclass(frozen=True)
class AttentionSpec:
    """Slots of the attention core; everything left out is the identity. `temperature` is tau, 1/sqrt(D/H) for None."""

    norm_query: NormKind | None = None
    norm_key: NormKind | None = None
    norm_value: NormKind | None = None
    head_scale: bool = False
    norm_inner: NormKind | None = None
    temperature: float | None = None
    causal: bool = True


class Attention(nn.Module):
    """Self-attention `[B, T, D] -> [B, T, D]` without biases; the four matrices are separate parameters `[D, D]`."""

    def __init__(self, width: int, heads: int, spec: AttentionSpec | None = None, *, eps: float = 1e-5) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ArgumentError("heads", heads, f"a divisor of the width {width}")
        self.spec, self.heads = spec or AttentionSpec(), heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_query = build_norm(self.spec.norm_query, width // heads, eps=eps)
        self.norm_key = build_norm(self.spec.norm_key, width // heads, eps=eps)
        self.norm_value = build_norm(self.spec.norm_value, width // heads, eps=eps)
        self.head_scale = nn.Parameter(torch.ones(heads)) if self.spec.head_scale else None
        self.norm_inner = build_norm(self.spec.norm_inner, width, eps=eps)

    def _split(self, x: Tensor) -> Tensor:
        """`[B, T, D] -> [B, H, T, D/H]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, h: Tensor) -> Tensor:
        """h `[B, T, D]` to u `[B, T, D]`, equations (1) to (4)."""
        q = self.norm_query(self._split(self.query(h)))  # (1)
        k = self.norm_key(self._split(self.key(h)))
        v = self.norm_value(self._split(self.value(h)))
        # Looked up at call time, so that the doctor can read the attention entropy on sampled steps.
        o = F.scaled_dot_product_attention(q, k, v, is_causal=self.spec.causal, scale=self.spec.temperature)  # (2)
        if self.head_scale is not None:
            o = o * self.head_scale[:, None, None]  # (3)
        return self.out(self.norm_inner(o.transpose(1, 2).flatten(-2)))  # (4)
