"""The rest of a step in one call, sums over all parameters included, is what it is step by step, bit for bit."""

import re

import pytest
import torch

import equipoise as ep
from equipoise.core import driver, lockstep
from equipoise.core.stage import Slot, Stage, peak, total

pytestmark = [pytest.mark.compile, pytest.mark.usefixtures("compiler")]
SHAPES = [(40, 30), (7,), (300, 20), (64, 64), (33,)]


@pytest.fixture
def compiler(require):
    require("compiler")


@pytest.fixture
def legs(monkeypatch):
    """How many graphs asked in each relay, and how many others there were; with "off" in it all go the long way."""
    seen = []

    def counted(first, others):
        done = "off" not in seen and driver.relay(first, others)
        if done:
            seen.append((len(first), len(others)))
        return done

    monkeypatch.setattr(lockstep, "relay", counted)
    return seen


def parameters(dtype, shapes=SHAPES):
    generator = torch.Generator().manual_seed(5)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]


def trained(make, dtype=torch.float64, steps=4, spoil=None, measured=False, shapes=SHAPES):
    """Parameters and state after some steps, and what was measured."""
    ps, told = parameters(dtype, shapes), []
    optimizer = make(ps)
    for step in range(steps):
        for k, p in enumerate(ps):
            p.grad = torch.cos(p.detach() * (k + step + 1))
            if spoil is not None and step == steps - 1 and k == spoil:
                p.grad.view(-1)[3] = torch.nan
        if measured:
            optimizer.measure()
        optimizer.step()
        told.append(optimizer.measured)
    return [value for p in ps for value in (p.detach(), *optimizer.state[p].values())], told


def both(legs, make, **words):
    """The same run by relay and the long way."""
    fast = trained(make, **words)
    relayed = [*legs]
    legs[:] = ["off"]
    slow = trained(make, **words)
    assert legs == ["off"]
    legs.clear()
    for a, b in zip(fast[0], slow[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert str(fast[1]) == str(slow[1])
    return relayed


def made(name, **words):
    return lambda ps: getattr(ep.optim, name)(ps, lr=0.01, runner="fused", **words)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["AdamS", "Prodigy", "DAdaptAdam", "Ranger21"])
def test_a_step_is_the_same(legs, name, dtype):
    """From the second step on, with both kinds of tensors; where averages are written early, from the first."""
    assert both(legs, made(name), dtype=dtype) == [(2, 0)] * (
        4 if name == "Ranger21" and dtype != torch.bfloat16 else 3
    )


def test_measured_steps_too(legs):
    assert both(legs, made("AdamS"), measured=True) == [(2, 0)] * 3


@pytest.mark.parametrize("spoil", [0, 1, 4])
def test_what_is_no_number_reaches_all(legs, spoil):
    assert both(legs, made("AdamS"), spoil=spoil) == [(2, 0)] * 3


def asking(name, kind):
    """A stage that divides the direction by one number of all gradients."""

    def partials(r, s, c):
        return {"a": kind(r.g.abs())}

    def update(r, s, c, found):
        return {"u": r.u / (1 + found.a)}, {}

    return Stage(name, Slot.SCALE, update, ("u", "g"), ("u",), partials=partials, reduction="global")


def chain(*stages, lr=0.01):
    return ep.chain(*stages, ep.stages.apply(), hyper={"lr": lr})


def split(**chains):
    """An optimizer that gives each of these chains some of the parameters, by their names."""

    def make(ps):
        net = torch.nn.ParameterDict({f"{'abcde'[k]}": p for k, p in enumerate(ps)})
        return ep.Optimizer(
            net, {re.compile(f"[{names}]$"): own for names, own in chains.items()}, runner="fused", verbose=False
        )

    return make


DOUBLED = Stage("doubled", Slot.SCALE, lambda r, s, c: ({"u": 2 * r.u}, {}), ("u",), ("u",))
ALL, PEAK = chain(asking("all", total)), chain(asking("peak", peak))
TWICE = chain(asking("one", total), asking("two", peak))


@pytest.mark.parametrize(
    ("chains", "relayed"),
    [
        ({"abcde": PEAK}, (2, 0)),
        ({"abc": ALL, "de": chain(DOUBLED, asking("all", total))}, (4, 0)),  # they ask the same, so together
        ({"abc": ALL, "de": PEAK}, (4, 0)),  # each question for itself
        ({"abc": ALL, "de": ep.optim.adamw()}, (2, 1)),  # who asks nothing waits for the leave to write
        ({"abce": ALL, "d": ep.optim.muon()}, (2, 0)),  # matrices are solved before
        ({"abcde": TWICE}, (2, 0)),  # the second of two questions
        ({"abc": ALL, "de": TWICE}, (2, 2)),  # the first one has been answered before
    ],
)
def test_several_chains(legs, chains, relayed):
    for spoil in (None, 1):
        assert both(legs, split(**chains), spoil=spoil) == [relayed] * 3


def test_sums_of_many_tensors_are_taken_in_one_order(legs):
    """The rate is such that the last bit of a sum is seen."""
    loud = chain(asking("all", total), lr=1e3)
    relayed = both(legs, lambda ps: ep.Optimizer(ps, loud, runner="fused"), shapes=[(17, 3), (29,)] * 80)
    assert relayed == [(2, 0)] * 3


@pytest.mark.parametrize("name", ["GSM", "LAMB"])
def test_thresholds_and_steps_without_a_question_go_the_long_way(legs, name):
    assert both(legs, made(name)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(legs, threads):
    wanted, _ = trained(made("AdamS"))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got, _ = trained(made("AdamS"))
    finally:
        torch.set_num_threads(before)
    assert legs == [(2, 0)] * 6
    assert all(map(torch.equal, got, wanted))


def test_gradients_that_are_missing(legs):
    """A parameter that misses a step makes another plan, which learns what follows on what in its first step."""
    ps = parameters(torch.float32)
    optimizer = ep.optim.AdamS(ps, lr=0.01, runner="fused")
    relayed = []
    for step in range(6):
        for k, p in enumerate(ps):
            p.grad = None if (step, k) == (3, 0) else torch.cos(p.detach() * (k + 1))
        optimizer.step()
        relayed.append(len(legs))
    assert relayed == [0, 1, 2, 2, 3, 4]
