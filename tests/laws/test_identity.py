"""Laws: zero decay is the base, bit for bit; a constant schedule is a constant; cautious at u = 0 is plain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import equipoise as ep
from equipoise.core.optimizer import Optimizer
from laws.subjects import OPTIMS, chain_of, start, train

BASE = {"sgdw": "sgd", "adamw": "adam", "adam_l2": "adam"}
RUNNERS = ["reference", "blocked"]


def result(chain, runner="blocked", steps=5, shapes=((5, 3), (7,))):
    parameters = start(shapes)
    train(Optimizer(parameters, chain, runner=runner), parameters, steps)
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", BASE)
def test_zero_decay_is_the_base(name, runner):
    extra = {"lr_inside": False} if name == "sgdw" else {}
    common = {"lr": 0.05} | ({"momentum": 0.8} if name == "sgdw" else {"beta1": 0.8, "beta2": 0.95})
    ours = ep._card.find(name, "optim").factory(weight_decay=0.0, **common, **extra)
    base = ep._card.find(BASE[name], "optim").factory(weight_decay=0.0, **common)
    assert torch.equal(result(ours, runner), result(base, runner))


@pytest.mark.parametrize("place", ["grad", "momentum", "direction", "before", "after", "prox"])
@pytest.mark.parametrize("target", ["zero", "init"])
@pytest.mark.parametrize("metric", ["l2", "l1", "huber"])
def test_zero_decay_on_the_grid_is_no_decay(place, target, metric):
    shrink = ep.decay.shrink(place=place, target=target, metric=metric, delta=0.4 if metric == "huber" else None)
    items = [ep.stages.apply(), shrink] if place in ("after", "prox") else [shrink, ep.stages.apply()]
    decayed = ep.chain(*items, hyper={"lr": 0.05, "weight_decay": 0.0})
    plain = ep.chain(ep.stages.apply(), hyper={"lr": 0.05})
    tolerance = 1e-15 if (place, target) == ("prox", "init") else 0.0  # tau + (p - tau) rounds once
    assert (result(decayed) - result(plain)).abs().max() <= tolerance


@pytest.mark.parametrize("name", OPTIMS)
def test_a_constant_schedule_is_a_constant(name):
    lr = 0.03
    constant = result(chain_of(name, lr=ep.schedules.constant(lr), weight_decay=ep.schedules.constant(0.1)))
    assert torch.equal(constant, result(chain_of(name, lr=lr, weight_decay=0.1)))


@settings(max_examples=30, deadline=None)
@given(lr=st.floats(1e-4, 0.5), decay=st.floats(0, 0.5), seed=st.integers(0, 10_000))
def test_lion_keeps_its_box(lr, decay, seed):
    """|p_t| <= (1 - lr wd) |p_{t-1}| + lr, elementwise."""
    (p,) = start([(6, 4)], seed=seed)
    before = p.detach().abs().clone()
    train(Optimizer([p], ep.optim.lion(lr=lr, weight_decay=decay)), [p], 1, first=seed)
    assert (p.detach().abs() <= (1 - lr * decay) * before + lr + 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_lion_does_not_see_the_scale_of_the_loss(scale, seed):
    outcomes = []
    for factor in (1.0, 2.0 ** round(torch.log2(torch.tensor(scale)).item())):
        (p,) = start([(6, 4)], seed=seed)
        optimizer = Optimizer([p], ep.optim.lion(lr=0.1))
        for step in range(4):
            p.grad = factor * start([(6, 4)], seed=step + 50)[0].detach()
            optimizer.step()
        outcomes.append(p.detach().clone())
    assert torch.equal(*outcomes)


def test_without_gradient_decay_is_a_product_whatever_the_learning_rate():
    for lr in (0.1, 3.0):
        p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = ep.optim.AdamW([p], lr=lr, weight_decay=0.02, law="independent")
        for _ in range(10):
            p.grad = torch.zeros_like(p)
            optimizer.step()
        assert torch.allclose(p.detach(), torch.full((3,), 0.98**10, dtype=torch.float64), atol=1e-15)


def test_normalized_decay_has_the_papers_number():
    """lambda_norm 0.025, batch 128, 50,000 samples, 100 epochs: 1.2649e-4 (arXiv:1711.05101)."""
    from types import SimpleNamespace

    from equipoise.decay.laws import LAWS

    hyper = SimpleNamespace(lr=1e-3, peak_lr=1e-3, weight_decay=0.025, period=50_000 * 100 / 128)
    assert LAWS["normalized"](hyper) == pytest.approx(1.2649e-4, rel=1e-4)
