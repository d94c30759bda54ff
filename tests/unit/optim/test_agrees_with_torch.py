"""NAdam, RAdam, RMSprop and Adagrad: torch's numbers, torch's state names, checkpoints both ways."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise.optim.radam import radam

CASES = {
    "nadam": ("NAdam", {"lr": 0.01}),
    "nadam-l2": ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.05, "betas": (0.8, 0.95)}),
    "nadam-decoupled": ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": ("RAdam", {"lr": 0.01}),
    "radam-l2": ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    "radam-decoupled": ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "rmsprop": ("RMSprop", {"lr": 0.01}),
    "rmsprop-momentum": ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1}),
    "rmsprop-centered": ("RMSprop", {"lr": 0.01, "momentum": 0.8, "centered": True, "eps": 1e-5}),
    "adagrad": ("Adagrad", {"lr": 0.05}),
    "adagrad-all": ("Adagrad", {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    "adagrad-maximize": ("Adagrad", {"lr": 0.05, "maximize": True}),
}


@pytest.fixture(autouse=True)
def float64():
    """Without it torch keeps NAdam's mu_product in float32, and the two part by its rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pair(case: str):
    name, values = CASES[case]
    return getattr(torch.optim, name), getattr(ep.optim, name), values


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))


def train(net, optimizer, steps, first=0) -> None:
    for step in range(first, first + steps):
        optimizer.zero_grad()
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        ((net(x) ** 2).sum() + net(x).sum()).backward()
        optimizer.step()


def difference(a, b) -> float:
    return max((p - q).abs().max().item() for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("runner", ["reference", "blocked"])
@pytest.mark.parametrize("case", CASES)
def test_50_steps(case, runner):
    theirs, ours, values = pair(case)
    a, b = model(), model()
    train(a, theirs(a.parameters(), **values), 50)
    train(b, ours(b.parameters(), runner=runner, **values), 50)
    assert difference(a, b) <= 1e-12


def test_the_agreement_can_fail():
    a, b = model(), model()
    train(a, torch.optim.RAdam(a.parameters(), lr=0.01), 50)
    train(b, ep.optim.RAdam(b.parameters(), lr=0.01, eps=1.1e-8), 50)
    assert difference(a, b) > 1e-10


@pytest.mark.parametrize("case", CASES)
def test_checkpoints_both_ways(case):
    theirs, ours, values = pair(case)
    for kind, other in ((theirs, ours), (ours, theirs)):
        a = model()
        saver = kind(a.parameters(), **values)
        train(a, saver, 5)
        b = copy.deepcopy(a)
        loader = other(b.parameters(), **{**values, "lr": 123.0})
        loader.load_state_dict(copy.deepcopy(saver.state_dict()))
        train(a, saver, 10, first=5)
        train(b, loader, 10, first=5)
        assert difference(a, b) <= 1e-12


@pytest.mark.parametrize("steps", [0, 1])
def test_adagrad_takes_over_a_torch_run_that_has_not_begun(steps):
    """torch's first sum is in the checkpoint before any step, and must not be added twice."""
    values = {"lr": 0.05, "initial_accumulator_value": 0.3}
    a = model()
    saver = torch.optim.Adagrad(a.parameters(), **values)
    train(a, saver, steps)
    b = copy.deepcopy(a)
    loader = ep.optim.Adagrad(b.parameters(), **values)
    loader.load_state_dict(copy.deepcopy(saver.state_dict()))
    train(a, saver, 5, first=steps)
    train(b, loader, 5, first=steps)
    assert difference(a, b) <= 1e-12


def test_whether_decay_is_decoupled_comes_from_the_checkpoint_where_the_method_has_the_word():
    a = model()
    saver = torch.optim.NAdam(a.parameters(), lr=0.01, weight_decay=0.3, decoupled_weight_decay=True)
    train(a, saver, 3)
    b = copy.deepcopy(a)
    loader = ep.optim.NAdam(b.parameters())
    loader.load_state_dict(copy.deepcopy(saver.state_dict()))
    train(a, saver, 5, first=3)
    train(b, loader, 5, first=3)
    assert difference(a, b) <= 1e-12


@pytest.mark.parametrize(("beta2", "first"), [(0.999, 6), (0.95, 6), (0.6, None)])
def test_radam_turns_adaptive_when_it_says(beta2, first):
    """Before, the step is proportional to the gradient; after, it is not."""
    (moment,) = [stage for stage in radam(beta2=beta2).stages if stage.name == "rectified_moment"]
    flat = [moment.coefs(SimpleNamespace(beta2=beta2, eps=1e-8, t=t))["flat"] for t in range(1, 50)]
    assert flat == [1.0] * (first - 1 if first else 49) + [0.0] * (50 - first if first else 0)


def test_centered_rmsprop_stays_finite_on_a_constant_gradient():
    """v - a^2 goes below 0 by rounding sooner or later; torch's root is then no number."""
    p = nn.Parameter(torch.zeros(64))
    optimizer = ep.optim.RMSprop([p], centered=True, alpha=0.5)
    g = torch.randn(64, generator=torch.Generator().manual_seed(0))
    for _ in range(200):
        p.grad = g.clone()
        optimizer.step()
    assert torch.isfinite(p).all()
