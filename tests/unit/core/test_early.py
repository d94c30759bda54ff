"""State that the first of two phases writes: which it is, that results stay the same, and what a failure leaves."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import StateError
from equipoise.core import lockstep
from equipoise.core.early import early_state
from equipoise.core.entry import RunnerChoice
from equipoise.core.trace import Layout

SHAPES = [(40, 30), (24, 16), (18,)]


def layout(chain, rank=2, apart=(), state=torch.float32):
    dtypes = (state,) * len(chain.kernel_keys())
    return Layout(
        chain, rank, torch.float32, torch.float32, dtypes, torch.device("cpu"), apart=apart, spread=bool(apart)
    )


def names(chain, places):
    return [chain.kernel_keys()[k][1] for k in places]


@pytest.mark.parametrize(
    ("chain", "apart", "early"),
    [
        (ep.optim.lamb(), ("tensor",), ["exp_avg", "exp_avg_sq"]),  # the direction follows from both averages
        (ep.optim.adamp(), ("tensor",), ["exp_avg", "exp_avg_sq"]),
        (ep.optim.lamb(), (), []),  # no barrier: one process sums by itself
        (ep.optim.adamw(), ("tensor",), []),  # nothing is summed
        (ep.optim.lars(momentum=0.9), ("tensor",), []),  # what is asked follows from the gradient, not from state
        (ep.optim.adams(), (), []),  # the second phase needs the gradient anyhow: nothing is gained
        (ep.optim.ranger21(), (), ["exp_avg_sq", "max_exp_avg_sq"]),  # the decay waits for all second moments
        (ep.optim.muon(), (), []),  # matrices are handed out
    ],
)  # fmt: skip
def test_which_state_is_written_early(chain, apart, early):
    assert names(chain, early_state(layout(chain, apart=apart))) == early


def test_state_that_is_rounded_when_kept_is_not_written_early():
    assert early_state(layout(ep.optim.lamb(), apart=("tensor",), state=torch.bfloat16)) == ()


def parameters():
    torch.manual_seed(3)
    made = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in SHAPES]
    for p in made:
        p.grad = torch.randn_like(p)
    return made


def phased(optimizer):
    """The compiled runner without a compiler: the same phases, run as torch operations."""
    optimizer._choice = RunnerChoice("fused", "test", length=2, backend="aot_eager")
    return optimizer


def ranger(ps):
    return phased(ep.optim.Ranger21(ps, lr=1e-2, weight_decay=1e-2))


def values(optimizer, ps):
    state = {(i, key): t.clone() for i, p in enumerate(ps) for key, t in optimizer.state[p].items()}
    return [p.detach().clone() for p in ps], state


@pytest.fixture
def failing(monkeypatch):
    """A reduction that can be made to fail."""
    switch, combine = SimpleNamespace(on=False), lockstep.combine

    def maybe(*given):
        if switch.on:
            raise ConnectionError("the wire broke")
        return combine(*given)

    monkeypatch.setattr(lockstep, "combine", maybe)
    return switch


def fail_once(optimizer, failing):
    failing.on = True
    with pytest.raises(ConnectionError):
        optimizer.step()
    failing.on = False


def test_after_half_a_step_nothing_goes_on_from_there(failing):
    ps = parameters()
    optimizer = ranger(ps)
    optimizer.step()
    saved, before = optimizer.state_dict(), [p.detach().clone() for p in ps]
    fail_once(optimizer, failing)
    assert all(map(torch.equal, ps, before))
    with pytest.raises(StateError, match=r"half a step \(ConnectionError in step 2\).*Load the last checkpoint"):
        optimizer.step()
    with pytest.raises(StateError, match="half a step"):
        optimizer.state_dict()
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert optimizer.state[ps[0]]["step"] == 2


def test_cleared_state_begins_anew(failing):
    ps = parameters()
    optimizer = ranger(ps)
    optimizer.step()
    fail_once(optimizer, failing)
    optimizer.state.clear()
    optimizer.step()
    assert optimizer.state[ps[0]]["step"] == 1


def test_a_step_that_fails_before_it_writes_leaves_everything_as_it_was(failing):
    """AdamS writes nothing before its sum is there: state, counts, schedules and parameters stay, and it goes on."""
    ps, twin = parameters(), parameters()
    falling = ep.schedules.linear(1e-2, total_steps=5)
    optimizers = [phased(ep.optim.AdamS(own, lr=falling, betas=(falling, 0.9))) for own in (ps, twin)]
    for optimizer in optimizers:
        optimizer.step()
    before, group = values(optimizers[0], ps), dict(optimizers[0].param_groups[0])
    fail_once(optimizers[0], failing)
    after = values(optimizers[0], ps)
    assert all(map(torch.equal, before[0], after[0]))
    assert all(torch.equal(before[1][key], after[1][key]) for key in before[1])
    assert {k: v for k, v in optimizers[0].param_groups[0].items() if k != "params"} == {
        k: v for k, v in group.items() if k != "params"
    }
    for optimizer in optimizers:
        optimizer.step()
    assert all(map(torch.equal, ps, twin))


def test_a_step_that_is_refused_moves_no_schedule(failing):
    ps = parameters()
    optimizer = phased(ep.optim.Ranger21(ps, lr=ep.schedules.linear(1e-2, total_steps=5)))
    optimizer.step()
    fail_once(optimizer, failing)
    rate, updates = optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["updates"]
    with pytest.raises(StateError):
        optimizer.step()
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["updates"], updates) == (rate, updates, 1)


@pytest.mark.parametrize("runner", ["fused", "blocked", "reference"])
def test_what_needs_no_answer_waits_with_the_others(failing, runner):
    """One group waits for a mean over its parameters, one for nothing: both are stepped, or none."""
    ps = parameters()
    net = nn.ParameterDict({"waits": ps[0], "does not": ps[1], "neither": ps[2]})
    chains = {re.compile("waits"): ep.optim.adams(lr=1e-2), "rest": ep.optim.adamw(lr=1e-2)}
    optimizer = ep.Optimizer(net, chains, verbose=False)
    optimizer._choice = RunnerChoice(runner, "test", length=2, backend="aot_eager")
    optimizer.step()
    before = values(optimizer, ps)
    fail_once(optimizer, failing)
    after = values(optimizer, ps)
    assert all(map(torch.equal, before[0], after[0]))
    assert all(torch.equal(before[1][key], after[1][key]) for key in before[1])
    optimizer.step()
    assert not any(map(torch.equal, before[0], ps))
