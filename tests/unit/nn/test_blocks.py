"""Every placement equals a separately written direct formula, and the stream starts with the spec's size."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise._errors import ArgumentError
from equipoise.nn import (
    AttentionSpec,
    BlockSpec,
    FeedForwardSpec,
    Scale,
    Slots,
    TransformerBlock,
    named_placement,
)

WIDTH, HEADS, BATCH, TOKENS = 24, 3, 2, 7


def filled(block: nn.Module) -> nn.Module:
    """The block in float64 with random values everywhere, gains too, so that no slot can hide."""
    block = block.double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim < 2))
    return block


def norm(x: Tensor, gain: Tensor, eps: float = 1e-5) -> Tensor:
    """LayerNorm without bias, written out."""
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def attention(core: nn.Module, h: Tensor, *, normed: bool = False, temperature: float | None = None) -> Tensor:
    """Causal attention, head by head."""
    size = WIDTH // HEADS
    q, k, v = h @ core.query.weight.T, h @ core.key.weight.T, h @ core.value.weight.T
    heads = []
    for i in range(HEADS):
        part = slice(i * size, (i + 1) * size)
        qi, ki, vi = q[..., part], k[..., part], v[..., part]
        if normed:
            qi, ki = qi / qi.norm(dim=-1, keepdim=True), ki / ki.norm(dim=-1, keepdim=True)
        scores = qi @ ki.transpose(-1, -2) * (temperature or size**-0.5)
        scores = scores.masked_fill(torch.ones(TOKENS, TOKENS).triu(1).bool(), -math.inf)
        o = scores.softmax(-1) @ vi
        heads.append(o if core.head_scale is None else o * core.head_scale[i])
    return torch.cat(heads, -1)


def attend(block: TransformerBlock, h: Tensor, **kw: object) -> Tensor:
    core = block.attention.core
    return attention(core, h, **kw) @ core.out.weight.T


def feed(block: TransformerBlock, h: Tensor) -> Tensor:
    core = block.feed_forward.core
    return F.gelu(h @ core.up.weight.T) @ core.down.weight.T


def direct_post(block: TransformerBlock, x: Tensor) -> Tensor:
    x = norm(x + attend(block, x), block.attention.norm_post.weight)
    return norm(x + feed(block, x), block.feed_forward.norm_post.weight)


def direct_pre(block: TransformerBlock, x: Tensor) -> Tensor:
    x = x + attend(block, norm(x, block.attention.norm_in.weight))
    return x + feed(block, norm(x, block.feed_forward.norm_in.weight))


def direct_peri(block: TransformerBlock, x: Tensor) -> Tensor:
    a, m = block.attention, block.feed_forward
    x = x + norm(attend(block, norm(x, a.norm_in.weight)), a.norm_out.weight)
    return x + norm(feed(block, norm(x, m.norm_in.weight)), m.norm_out.weight)


DIRECT = {"post_ln": direct_post, "pre_ln": direct_pre, "peri_ln": direct_peri}


def largest_difference(block: TransformerBlock, formula) -> float:
    x = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.float64)
    return (block(x) - formula(block, x)).abs().max().item()


@pytest.mark.parametrize("name", DIRECT)
def test_placement_equals_its_direct_formula(name):
    block = filled(TransformerBlock(WIDTH, HEADS, placement=name))
    assert largest_difference(block, DIRECT[name]) <= 1e-12


@pytest.mark.parametrize("slot", ["norm_in", "norm_out"])
def test_the_comparison_can_fail(slot):
    """The seeded fault: one norm of Peri-LN's attention taken out."""
    block = filled(TransformerBlock(WIDTH, HEADS, placement="peri_ln"))
    gain = getattr(block.attention, slot)
    setattr(block.attention, slot, nn.Identity())

    def formula(block, x):
        setattr(block.attention, slot, gain)
        return direct_peri(block, x)

    assert largest_difference(block, formula) > 1e-3


def test_normformer_row_of_the_table():
    """Head scale, a norm inside the feed-forward, an output norm on attention and a learned skip."""
    spec = BlockSpec(
        attention=Slots(norm_in="layer_norm", norm_out="layer_norm"),
        feed_forward=Slots(norm_in="layer_norm", skip_scale=Scale(1.0, "channel")),
        attention_core=AttentionSpec(head_scale=True),
        feed_forward_core=FeedForwardSpec(norm_mid="layer_norm"),
    )
    block = filled(TransformerBlock(WIDTH, HEADS, placement=spec))

    def formula(block, x):
        a, m = block.attention, block.feed_forward
        x = x + norm(attend(block, norm(x, a.norm_in.weight)), a.norm_out.weight)
        hidden = F.gelu(norm(x, m.norm_in.weight) @ m.core.up.weight.T)
        return m.skip_scale.weight * x + norm(hidden, m.core.norm_mid.weight) @ m.core.down.weight.T

    assert largest_difference(block, formula) <= 1e-12


def test_deepnorm_and_depth_scaled_rows_of_the_table():
    deep = Slots(norm_post="layer_norm", skip_scale=Scale(12**0.25))
    block = filled(TransformerBlock(WIDTH, HEADS, placement=BlockSpec(deep, deep)))

    def deepnorm(block, x):
        x = norm(12**0.25 * x + attend(block, x), block.attention.norm_post.weight)
        return norm(12**0.25 * x + feed(block, x), block.feed_forward.norm_post.weight)

    assert largest_difference(block, deepnorm) <= 1e-12
    scaled = Slots(norm_in="layer_norm", depth_scale=3**-0.5, branch_scale=Scale(0.1, "scalar"))
    block = filled(TransformerBlock(WIDTH, HEADS, placement=BlockSpec(scaled, scaled)))

    def ln_scaling(block, x):
        a, m = block.attention, block.feed_forward
        x = x + a.branch_scale.weight * attend(block, norm(x, a.norm_in.weight) / 3**0.5)
        return x + m.branch_scale.weight * feed(block, norm(x, m.norm_in.weight) / 3**0.5)

    assert largest_difference(block, ln_scaling) <= 1e-12


def test_spherical_lerp_row_of_the_table():
    """Unit queries and keys, temperature sqrt(head), and a learned lerp on the sphere."""
    slots = Slots(norm_out="unit", norm_skip="unit", join="lerp", lerp_scale=Scale(0.05, "channel"), norm_post="unit")
    core = AttentionSpec(norm_query="unit", norm_key="unit", temperature=(WIDTH // HEADS) ** 0.5)
    block = filled(TransformerBlock(WIDTH, HEADS, placement=BlockSpec(slots, slots, core)))

    def unit(x):
        return x / x.norm(dim=-1, keepdim=True)

    def cosine_attend(block, x):
        return attend(block, x, normed=True, temperature=(WIDTH // HEADS) ** 0.5)

    def formula(block, x):
        for sub, core in ((block.attention, cosine_attend), (block.feed_forward, feed)):
            k = unit(x)
            u = unit(core(block, x))
            x = unit(k + sub.lerp_scale.weight.abs() * (u - k))
        return x

    assert largest_difference(block, formula) <= 1e-12


def test_gated_feed_forward_and_inner_norm():
    spec = BlockSpec(
        attention_core=AttentionSpec(norm_inner="rms_norm"),
        feed_forward_core=FeedForwardSpec(activation="silu", gated=True, expansion=2.0),
    )
    block = filled(TransformerBlock(WIDTH, HEADS, placement=spec))

    def formula(block, x):
        core = block.attention.core
        o = attention(core, x)
        o = core.norm_inner.weight * o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        x = x + o @ core.out.weight.T
        core = block.feed_forward.core
        return x + (F.silu(x @ core.gate.weight.T) * (x @ core.up.weight.T)) @ core.down.weight.T

    assert largest_difference(block, formula) <= 1e-12


def stream_rms(name: str, layers: int) -> list[float]:
    """RMS of the stream after block 1, L/2 and L; d=64, 4 heads, weights N(0, 1/fan_in), random tokens."""
    placement = named_placement(name)
    x, found = torch.randn(4, 64, 64), []
    with torch.no_grad():
        for layer in range(1, layers + 1):
            block = TransformerBlock(64, 4, placement=placement.per_layer(layer, layers))
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    module.weight.normal_(std=module.in_features**-0.5)
            x = block(x)
            found.append(x.square().mean().sqrt().item())
    return [found[0], found[layers // 2 - 1], found[-1]]


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        ("post_ln", 6, (1, 1, 1)),
        ("pre_ln", 6, (1.30, 1.81, 2.39)),
        ("peri_ln", 6, (1.73, 2.58, 3.40)),
        ("pre_ln", 24, (1.32, 3.55, 5.14)),
        ("peri_ln", 24, (1.72, 4.94, 6.78)),
    ],
)
def test_stream_size_at_the_start(name, layers, expected):
    assert stream_rms(name, layers) == pytest.approx(expected, rel=0.12)


def test_attention_is_causal():
    block = filled(TransformerBlock(WIDTH, HEADS, placement="pre_ln"))
    x = torch.randn(1, TOKENS, WIDTH, dtype=torch.float64)
    later = x.clone()
    later[:, 4:] += 1
    assert torch.equal(block(x)[:, :4], block(later)[:, :4])
    assert not torch.equal(block(x)[:, 4:], block(later)[:, 4:])


@pytest.mark.parametrize("name", DIRECT)
def test_gradients_are_right(name):
    block = filled(TransformerBlock(6, 2, placement=name))
    x = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


def test_bad_arguments_name_the_thing():
    with pytest.raises(ArgumentError, match=r"placement: got 'preln'.*'pre_ln'"):
        TransformerBlock(WIDTH, HEADS, placement="preln")
    with pytest.raises(ArgumentError, match="divisor of the width 24"):
        TransformerBlock(WIDTH, 5)
    with pytest.raises(ArgumentError, match="layer: got 3"):
        TransformerBlock(WIDTH, HEADS, layer=3, layers=2)
    with pytest.raises(ArgumentError, match="lie on the sphere"):
        Slots(join="lerp")
    with pytest.raises(ArgumentError, match=r"activation: got 'gelo'.*'gelu'"):
        FeedForwardSpec(activation="gelo")
    with pytest.raises(ArgumentError, match="norm: got"):
        TransformerBlock(WIDTH, HEADS, placement=BlockSpec(Slots(norm_in="batch")))
