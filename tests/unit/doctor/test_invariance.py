"""Scale invariance is found by test: before norms yes, elsewhere no, row by row where the norm is per channel."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from equipoise._errors import ArgumentError
from equipoise.doctor.invariance import find_scale_invariant
from unit.doctor.small_models import digits_batch, gpt, normalised_net, text_batch


def test_batch_and_layer_norm() -> None:
    found = find_scale_invariant(normalised_net(), digits_batch(0)[0])
    assert {n for n, f in found.items() if f.whole} == {"0.weight", "4.weight"}
    # BatchNorm normalises each row by itself, LayerNorm all rows together.
    assert {n for n, f in found.items() if f.rows} == {"0.weight"}
    assert found["0.weight"].row_cos < 1e-2
    assert found["6.weight"].cos > 1e-2


def test_a_convolution_before_batch_norm_and_a_pre_norm_transformer() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    found = find_scale_invariant(net, torch.randn(8, 1, 8, 8))
    # The bias in front of BatchNorm has no effect at all, so no gradient: not called invariant.
    assert {n for n, f in found.items() if f.whole} == {"0.weight"}
    assert found["0.weight"].rows
    assert not any(f.whole for f in find_scale_invariant(gpt(), text_batch(0)[0]).values())


def test_nothing_is_touched() -> None:
    model = normalised_net()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    state = torch.get_rng_state()
    find_scale_invariant(model, digits_batch(0)[0])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_orthogonal_gradient_alone_is_not_enough() -> None:
    class Turn(nn.Module):
        """At w = (1, 0) the gradient of the output is orthogonal to w; the output still changes with |w|."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (self.w[1] + (self.w[0] - 1) ** 2) + 1

    found = find_scale_invariant(Turn(), torch.ones(4, 3))["w"]
    assert found.cos < 1e-6
    assert not found.whole


def test_models_without_a_floating_output_or_parameters() -> None:
    class Pick(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.w).argmax(-1)

    with pytest.raises(ArgumentError, match="model output"):
        find_scale_invariant(Pick(), torch.ones(2, 3))
    with pytest.raises(ArgumentError, match="need a gradient"):
        find_scale_invariant(nn.ReLU(), torch.ones(2, 3))
