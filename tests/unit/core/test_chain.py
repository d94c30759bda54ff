"""Chains check their order when they are built, name their state, and say what they are."""

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError, ChainError
from equipoise.core.chain import complete
from equipoise.core.stage import Slot, Stage, StateSpec, total


def test_a_read_before_its_write_is_refused_with_the_cure():
    with pytest.raises(ChainError, match=r"divide.*reads 'den'.*second_moment"):
        ep.Optimizer([nn.Parameter(torch.ones(2))], ep.chain(ep.stages.divide(), ep.stages.apply(), hyper={"lr": 1.0}))


def test_stages_out_of_order_are_refused():
    with pytest.raises(ChainError, match=r"apply -> sign.*DIRECTION"):
        complete(ep.chain(ep.stages.apply(), ep.stages.sign()))


@pytest.mark.parametrize("stages", [[], [ep.stages.apply(), ep.stages.apply()]])
def test_a_step_applies_once(stages):
    with pytest.raises(ChainError, match="exactly one apply"):
        complete(ep.chain(ep.stages.ema(), *stages))


def test_two_of_a_kind_need_two_names():
    with pytest.raises(ChainError, match=r"ema\.exp_avg.*named"):
        ep.chain(ep.stages.ema(), ep.stages.ema())
    chain = ep.chain(ep.stages.ema(), ep.stages.ema().named("slow"), ep.stages.apply())
    assert [key for _, key, _ in chain.state_keys()] == ["ema.exp_avg", "slow.exp_avg"]


def test_only_decay_apply_and_projection_write_the_parameter():
    stage = Stage("bad", Slot.DIRECTION, lambda r, s, c: ({"p": r.u}, {}), reads=("u",), writes=("p",))
    with pytest.raises(ChainError, match=r"bad: got \"writes 'p'\""):
        complete(ep.chain(stage, ep.stages.apply()))
    stage = Stage("worse", Slot.GRADIENT, lambda r, s, c: ({"g0": r.g}, {}), writes=("g0",))
    with pytest.raises(ChainError, match="g0 left alone"):
        complete(ep.chain(stage, ep.stages.apply()))


def test_a_level_that_nobody_reduces_at_is_named():
    stage = Stage("odd", Slot.DIRECTION, lambda r, s, c, x: ({}, {}), reduction="column", partials=lambda r, s, c: {})
    with pytest.raises(ChainError, match=r"odd: got \"reduction 'column'\".*row, tensor"):
        complete(ep.chain(stage, ep.stages.apply()))


def test_a_factory_that_was_not_called_is_named():
    with pytest.raises(ChainError, match=r"Call the factory"):
        ep.chain(ep.stages.ema, ep.stages.apply())
    with pytest.raises(ArgumentError, match=r"Call the factory"):
        ep.Optimizer([nn.Parameter(torch.ones(2))], ep.optim.adamw)


def test_state_is_named_by_part_and_flat_by_torchs_names():
    net = nn.Linear(3, 2)
    optimizer = ep.optim.AdamW(net, verbose=False)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_of("weight")
    assert set(state) == {"adam"}
    assert state["adam"]["exp_avg"] is optimizer.state[net.weight]["exp_avg"]
    assert set(optimizer.state[net.weight]) == {"step", "exp_avg", "exp_avg_sq"}
    with pytest.raises(ArgumentError, match=r"wieght.*'weight'"):
        optimizer.state_of("wieght")


def test_equal_chains_share_a_key_and_decay_has_coordinates():
    assert ep.optim.adamw(lr=1.0) == ep.optim.adamw(lr=2.0)
    assert ep.optim.adamw() != ep.optim.adamw(mask="cautious")
    assert ep.optim.adamw(law="independent").decay == [
        {"place": "before", "target": "zero", "metric": "l2", "law": "independent", "mask": "all"}
    ]
    assert ep.optim.lion().reduces is False


def unit_norm(level):
    """u over its norm at a level: what trust-ratio methods are made of."""

    def partials(r, s, c):
        return {"uu": total(r.u * r.u)}

    def update(r, s, c, reduced):
        return {"u": r.u / reduced.uu.sqrt(), "aux": {"uu": reduced.uu}}, {"seen": s.seen + 1}

    return Stage(
        "unit_norm", Slot.SCALE, update, reads=("u",), writes=("u",), state=(StateSpec("seen", shape="scalar"),),
        partials=partials, reduction=level, degree=0, options=(("level", level),),
    )  # fmt: skip


@pytest.mark.parametrize("level", ["row", "tensor", "global"])
def test_reductions_are_made_by_the_engine(level):
    torch.manual_seed(0)
    parameters = [
        nn.Parameter(torch.zeros(4, 3, 2, dtype=torch.float64)),
        nn.Parameter(torch.zeros(5, 2, dtype=torch.float64)),
    ]
    grads = [torch.randn_like(p) for p in parameters]
    optimizer = ep.Optimizer(parameters, ep.chain(unit_norm(level), ep.stages.apply(), hyper={"lr": 1.0}))
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g
    optimizer.step()
    everything = torch.cat([g.flatten() for g in grads]).norm()
    for p, g in zip(parameters, grads, strict=True):
        norm = {"row": g.flatten(1).norm(dim=1).view(-1, *[1] * (g.ndim - 1)), "tensor": g.norm(), "global": everything}
        assert torch.allclose(-p.detach(), g / norm[level], atol=1e-14)
        assert optimizer.state[p]["seen"] == 1
    assert "reference" not in optimizer.plan()


@pytest.mark.parametrize("level", ["row", "tensor"])
def test_a_reduction_in_a_compiled_list_equals_the_reference(level):
    from equipoise.core.entry import RunnerChoice

    shapes = [*((k, 3) for k in range(1, 12)), (5,), (4, 3, 2), (2, 1), (3, 2, 2, 2)]
    chain = ep.chain(unit_norm(level), ep.stages.apply(), hyper={"lr": 0.3})
    outcomes = []
    for runner in ("reference", "fused"):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
        optimizer = ep.Optimizer(parameters, chain, runner=runner)
        optimizer._choice = RunnerChoice(runner, "test", backend="aot_eager")
        for _ in range(3):
            for p in parameters:
                p.grad = torch.randn_like(p)
            optimizer.step()
        outcomes.append(torch.cat([p.detach().flatten() for p in parameters]))
        assert [optimizer.state[p]["seen"].item() for p in parameters] == [3.0] * len(shapes)
    assert torch.allclose(*outcomes, atol=1e-13)
    (plan,) = optimizer._stepper.plans.values()
    assert sum(len(batch.members) for batch in plan.batches) >= 12  # most of them really ran in lists


def test_recipe_and_plan_are_readable():
    net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    optimizer = ep.optim.AdamW(net, lr=1e-3, weight_decay=0.1, verbose=False)
    assert "ema(beta1, debias=True) -> second_moment" in optimizer.recipe()
    lines = optimizer.plan().splitlines()
    assert [line.split()[2] for line in lines[2:4]] == ["matrix", "head"]
    assert any(line.startswith("1.weight") and " 0 " in line for line in lines)
    assert "norm_gain" in optimizer.summary()
