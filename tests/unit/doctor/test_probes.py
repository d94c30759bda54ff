"""Every probe against a computation by hand, on real steps and on attention written out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equipoise._card import cards
from equipoise.doctor import probes
from equipoise.doctor.attention_scores import scores_of_call
from equipoise.doctor.probes.dead_units import dead_units
from equipoise.doctor.store import RunStore
from equipoise.doctor.tracer import block_stack, logits_of, run_trace
from equipoise.doctor.watch import watch
from unit.doctor.small_models import digits_batch, gpt, mlp, text_batch

LR, DECAY = 1e-2, 0.3


def _one_step(tmp_path: Path, optimizer_class: type, **options: float) -> tuple[RunStore, dict[str, torch.Tensor]]:
    """Two steps, the second one sampled; the store and copies of weight before, after and gradient of one tensor."""
    model = mlp().double()
    optimizer = optimizer_class(model.parameters(), lr=LR, weight_decay=DECAY, **options)
    seen: dict[str, torch.Tensor] = {}
    with watch(model, optimizer, run_dir=tmp_path, every=2):
        for step in range(2):
            x, y = digits_batch(step)
            optimizer.zero_grad()
            F.cross_entropy(model(x.double()), y).backward()
            seen["before"] = model[2].weight.detach().clone()
            optimizer.step()
    weight = model[2].weight
    assert weight.grad is not None
    seen.update(after=weight.detach().clone(), grad=weight.grad.clone(), v=_second(optimizer, weight))
    return RunStore.open(tmp_path), seen


def _second(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> torch.Tensor:
    return optimizer.state[weight].get("exp_avg_sq", torch.zeros(1))


def _value(run: RunStore, metric: str) -> float:
    value = run.last(metric, "2.weight")
    assert value is not None
    return value


def test_tensor_probes_of_adamw(tmp_path: Path) -> None:
    run, s = _one_step(tmp_path, torch.optim.AdamW)
    before, after, grad = s["before"], s["after"], s["grad"]
    delta = after - before
    cos = F.cosine_similarity(before.flatten(), after.flatten(), dim=0)
    assert _value(run, "weight_norm") == pytest.approx(float(after.norm()), rel=1e-6)
    assert _value(run, "weight_rms") == pytest.approx(float(after.square().mean().sqrt()), rel=1e-6)
    assert _value(run, "grad_norm") == pytest.approx(float(grad.norm()), rel=1e-6)
    assert _value(run, "update_ratio") == pytest.approx(float(delta.norm() / before.norm()), rel=1e-6)
    assert _value(run, "rotation") == pytest.approx(math.acos(float(cos)), rel=1e-5)
    assert _value(run, "effective_lr") == pytest.approx(LR / float(before.norm()), rel=1e-6)
    angle = abs(float((grad * before).sum())) / float(grad.norm() * before.norm())
    assert _value(run, "invariance_cos") == pytest.approx(angle, rel=1e-4)
    decay = LR * DECAY * before
    share = float(decay.norm() / (decay.norm() + (delta + decay).norm()))
    assert _value(run, "decay_share") == pytest.approx(share, rel=1e-4)
    root = (s["v"] / (1 - 0.999**2)).sqrt()
    assert _value(run, "denominator") == pytest.approx(float(root[root > 0].median()), rel=1e-5)
    assert _value(run, "eps_underflow") == pytest.approx(float((root[root > 0] < 1e-7).double().mean()), abs=1e-6)


def test_decay_share_and_effective_lr_of_sgd(tmp_path: Path) -> None:
    run, s = _one_step(tmp_path, torch.optim.SGD)
    pull = DECAY * float(s["before"].norm())
    assert _value(run, "decay_share") == pytest.approx(pull / (pull + float(s["grad"].norm())), rel=1e-6)
    assert _value(run, "effective_lr") == pytest.approx(LR / float(s["before"].norm()) ** 2, rel=1e-6)
    assert "eps_underflow" not in run.metrics()


def test_rotation_is_exact_where_acos_is_not(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 0.0]]))
    model = nn.ParameterDict({"w": weight})
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with watch(model, optimizer, run_dir=tmp_path, every=1):
        weight.grad = torch.tensor([[0.0, -1e-6]])
        optimizer.step()
    assert RunStore.open(tmp_path).last("rotation", "w") == pytest.approx(1e-6, rel=1e-6)


def test_a_weight_of_zeros_has_no_ratio(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with watch(model, optimizer, run_dir=tmp_path, every=1):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    run = RunStore.open(tmp_path)
    assert run.tensors("update_ratio") == ["weight"]
    assert run.tensors("weight_norm") == ["weight", "bias"]


def _by_hand(query: torch.Tensor, key: torch.Tensor, causal: bool) -> tuple[float, float]:
    """Mean normalised entropy over rows that see 8 keys, and largest |score|, with plain loops."""
    b, h, t, e = query.shape
    entropies, top = [], 0.0
    for i in range(b):
        for j in range(h):
            for r in range(7, t):
                seen = r + 1 if causal else t
                z = (key[i, j, :seen] @ query[i, j, r]) / math.sqrt(e)
                p = z.softmax(0)
                entropies.append(float(-(p * p.log()).sum()) / math.log(seen))
                top = max(top, float(z.abs().max()))
    return sum(entropies) / len(entropies), top


@pytest.mark.parametrize("causal", [True, False])
def test_attention_by_hand(causal: bool) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 20, 8).unbind(0)
    view = scores_of_call(q * 3, k, v, is_causal=causal)
    entropy, top = _by_hand(q * 3, k, causal)
    assert float(probes.ATTENTION_PROBES["attention_entropy"](view)) == pytest.approx(entropy, rel=1e-5)
    assert float(probes.ATTENTION_PROBES["attention_max_logit"](view)) == pytest.approx(top, rel=1e-5)


def test_masks_scale_and_grouped_heads() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 4, 12, 8), torch.randn(2, 2, 12, 8)
    full = k.repeat_interleave(2, dim=1)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    by_flag = scores_of_call(q, full, full, is_causal=True).scores
    by_mask = scores_of_call(q, k, k, attn_mask=mask, enable_gqa=True).scores
    by_bias = scores_of_call(
        q, k, k, attn_mask=torch.zeros(12, 12).masked_fill(~mask, -math.inf), enable_gqa=True
    ).scores
    assert torch.equal(by_flag, by_mask)
    assert torch.equal(by_flag, by_bias)
    scaled = scores_of_call(q, full, full, is_causal=True, scale=1.0).scores
    seen = by_flag.isfinite()
    torch.testing.assert_close(scaled[seen], by_flag[seen] * math.sqrt(8))


def test_entropy_numbers_of_the_bound() -> None:
    # One score sigma * sqrt((T-1)/T) up and the rest equal: the least entropy that scores of norm sigma allow.
    length, sigma = 128, 10.0
    query = torch.zeros(1, 1, length, length)
    gap = sigma * math.sqrt(length / (length - 1))
    query[..., 0] = gap
    key = torch.eye(length)[None, None]
    view = scores_of_call(query, key, key, scale=1.0)
    assert float(view.head_entropy()) * math.log(length) == pytest.approx(0.060876, rel=1e-3)


def _attention_metrics(model: nn.Module, *inputs: torch.Tensor) -> dict[tuple[str, str], float]:
    return {k: v for k, v in run_trace(model, inputs).items() if k[0].startswith("attention")}


class Manual(nn.Module):
    """Attention written out with a softmax, as many teaching models do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.inner.qkv(x).view(b, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)  # pyright: ignore
        scores = q @ k.transpose(-2, -1) / math.sqrt(d // 4)
        hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
        y = F.softmax(scores.masked_fill(hidden, -math.inf), dim=-1) @ v
        return self.inner.out(y.transpose(1, 2).reshape(b, t, d))  # pyright: ignore[reportCallIssue]


def test_manual_attention_reads_like_the_fused_one() -> None:
    attention = gpt().blocks[0].attention  # pyright: ignore
    x = torch.randn(2, 24, 32)
    fused, manual = _attention_metrics(attention, x), _attention_metrics(Manual(attention), x)
    assert [m for m, _ in fused] == [m for m, _ in manual]
    assert list(fused.values()) == pytest.approx(list(manual.values()), rel=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_of_torch(need_weights: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(32, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attend(x, x, x, need_weights=need_weights)[0]

    torch.manual_seed(0)
    model, x = Model(), torch.randn(2, 16, 32) * 3
    found = _attention_metrics(model, x)
    weight, bias = model.attend.in_proj_weight, model.attend.in_proj_bias
    q, k, _ = F.linear(x, weight, bias).view(2, 16, 3, 4, 8).permute(2, 0, 3, 1, 4)
    entropy, top = _by_hand(q.detach(), k.detach(), causal=False)
    # All 16 rows see 16 keys, but only the last 9 are looked at: the same rows as under a causal mask.
    assert found["attention_entropy", "attend"] == pytest.approx(entropy, rel=1e-4)
    assert found["attention_max_logit", "attend"] == pytest.approx(top, rel=1e-4)


def test_encoder_layers_of_torch_are_seen() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    found = run_trace(model, torch.randn(2, 16, 32))
    assert ("attention_entropy", "layers.0.self_attn") in found
    assert ("dead_units", "layers.1") in found
    assert ("stream_rms", "layers.1") in found


def test_gpt_trace_names_layers_in_order() -> None:
    model = gpt()
    x = text_batch(0)[0]
    found = run_trace(model, x)
    assert [t for m, t in found if m == "attention_entropy"] == ["blocks.0.attention", "blocks.1.attention"]
    assert [t for m, t in found if m == "dead_units"] == ["blocks.0.mlp.1", "blocks.1.mlp.1"]
    with torch.no_grad():
        hidden = model.token(x) + model.position(torch.arange(32))
        hidden = model.blocks[0](hidden)
        out = model(x)
    assert found["stream_rms", "blocks.0"] == pytest.approx(float(hidden.square().mean().sqrt()), rel=1e-5)
    assert found["logit_max", ""] == pytest.approx(float(out.abs().max()), rel=1e-5)
    assert found["log_partition", ""] == pytest.approx(float(out.logsumexp(-1).mean()), rel=1e-5)
    spread = (out.amax(-1) - out.amin(-1)).mean()
    assert found["logit_range", ""] == pytest.approx(float(spread), rel=1e-5)


def test_dead_units_by_construction() -> None:
    hidden = torch.rand(64, 10) + 0.5
    hidden[:, :3] = 0
    assert float(dead_units(hidden)) == pytest.approx(0.3)
    maps = torch.rand(8, 4, 5, 5) + 0.5
    maps[:, 1] = 0
    assert float(dead_units(maps)) == pytest.approx(0.25)


def test_two_calls_of_one_module_are_told_apart() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.relu(x) - 0.5)

    assert [t for m, t in run_trace(Twice(), torch.rand(4, 8)) if m == "dead_units"] == ["relu", "relu#2"]


def test_outputs_that_are_no_plain_tensor() -> None:
    logits = torch.randn(2, 5)
    assert logits_of({"loss": torch.tensor(1.0), "logits": logits}) is logits
    assert logits_of((torch.tensor(1.0), logits)) is logits
    assert logits_of(torch.ones(4)) is None
    assert logits_of(torch.ones(4, 1)) is None


def test_block_stack_is_the_longest_of_one_type() -> None:
    assert block_stack(gpt()) == list(gpt().blocks) or len(block_stack(gpt())) == 2
    assert block_stack(mlp()) == []


def test_every_probe_is_registered_and_every_metric_has_a_card() -> None:
    told = {card.name for card in cards("probe")}
    measured = {
        *probes.TENSOR_PROBES,
        *probes.ATTENTION_PROBES,
        *probes.ACTIVATION_PROBES,
        *probes.BLOCK_PROBES,
        *probes.OUTPUT_PROBES,
    }
    assert measured | {"loss"} == told
