"""Fusion by hand: fewer operations, the same numbers, whatever the expression."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import equipoise as ep
from equipoise.core import run_blocked
from equipoise.core.chain import complete
from equipoise.core.optimizer import Optimizer
from equipoise.core.program import program_for
from equipoise.core.run_blocked import Slices
from equipoise.core.stage import Slot, Stage, StateSpec
from equipoise.core.terms import quotient
from equipoise.core.trace import Layout
from laws.subjects import start, train


def code_of(chain, dtype=torch.float32):
    keys = complete(chain).state_keys()
    layout = Layout(complete(chain), 1, dtype, dtype, (dtype,) * len(keys), torch.device("cpu"))
    (segment,) = program_for(layout).segments
    return segment.run.__self__.code


def calls(code):
    return [line.split("torch.")[1].split("(")[0] for line in code.splitlines() if " = torch." in line]


def test_adamw_takes_eight_operations_and_one_scratch():
    code = code_of(ep.optim.adamw(lr=1e-3))
    assert calls(code) == ["lerp", "mul", "lerp", "rsqrt", "reciprocal", "add", "mul", "addcdiv"]
    assert "s0" in code
    assert "s1" not in code
    assert "copy_" not in code


def test_sgd_takes_an_operation_for_each_line():
    assert len(calls(code_of(ep.optim.sgdw(lr=0.1, momentum=0.9)))) == 4  # mu m; + g; (1 - c) p; - eta m


# ---- random expressions: the fused replay equals the plain step ------------------------------------------------------

UNARY = {"neg": torch.neg, "abs": torch.abs, "sqrt": lambda x: x.abs().sqrt(), "half": lambda x: x * 0.5}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda a, b: a / (b.abs() + 1.5),
    "max": torch.maximum,
    "axpy": lambda a, b: torch.add(a, b, alpha=-2.5),
    "choose": lambda a, b: torch.where(a * b >= 0, a, b),
    "zero": lambda a, b: torch.where(a > b, b, 0.0),
    "rsub": lambda a, b: 1 - a * b,
    "indicator": lambda a, b: (a < b).to(a.dtype) * b,
}
LEAVES = ("p", "g", "s", "eta", "c", "zero", "one")


def expression(depth):
    leaf = st.sampled_from(LEAVES)
    if depth == 0:
        return leaf
    below = expression(depth - 1)
    unary = st.tuples(st.sampled_from(sorted(UNARY)), below)
    return st.one_of(leaf, unary, st.tuples(st.sampled_from(sorted(BINARY)), below, below))


def evaluate(tree, leaves):
    if isinstance(tree, str):
        return leaves[tree]
    name, *below = tree
    values = [evaluate(b, leaves) for b in below]
    return (UNARY if len(values) == 1 else BINARY)[name](*values)


def stage_of(new_p, new_s):
    def update(r, s, c):
        leaves = {"p": r.p, "g": r.g, "s": s.s, "eta": r.eta, "c": c.c, "zero": c.zero, "one": c.one}
        return {"p": r.p + evaluate(new_p, leaves)}, {"s": s.s * 0 + evaluate(new_s, leaves)}

    return Stage(
        "random", Slot.APPLY, update, reads=("p", "g", "eta"), writes=("p",), state=(StateSpec("s"),),
        coefs=lambda h: {"c": -0.7, "zero": 0.0, "one": 1.0}, options=(("p", new_p), ("s", new_s)),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(new_p=expression(4), new_s=expression(3))
def test_any_expression_gives_what_the_plain_step_gives(new_p, new_s):
    outcomes = []
    for runner in ("blocked", "reference"):
        parameters = start([(7, 5), (40,)])
        optimizer = Optimizer(parameters, ep.chain(stage_of(new_p, new_s), hyper={"lr": 0.3}), runner=runner)
        train(optimizer, parameters, 2)
        outcomes.append([*parameters, *(optimizer.state[p]["s"] for p in parameters)])
    for ours, theirs in zip(*outcomes, strict=True):
        scale = theirs.detach().abs().clamp_min(1.0)
        assert ((ours - theirs).detach().abs() / scale).max() < 1e-11


def test_choosing_by_bits_keeps_infinities_and_nan():
    def update(r, s, c):
        return {"p": torch.where(r.p >= r.g, r.g, r.p)}, {}

    stage = Stage("choose", Slot.APPLY, update, reads=("p", "g"), writes=("p",))
    inf, nan = math.inf, math.nan
    p = torch.nn.Parameter(torch.tensor([1.0, inf, -inf, nan, 0.0, -0.0]))
    p.grad = torch.tensor([inf, -inf, nan, 1.0, -0.0, nan])
    Optimizer([p], ep.chain(stage, hyper={"lr": 1.0}), runner="blocked").step()
    np.testing.assert_array_equal(p.detach().numpy(), [1.0, -inf, -inf, nan, -0.0, -0.0])


@pytest.mark.parametrize("runner", ["blocked", "reference"])
def test_old_values_can_be_kept_as_state(runner):
    """A stage may store the old p: it is read before p is written."""

    def update(r, s, c):
        return {"p": r.p - r.eta * r.g}, {"old": r.p, "older": s.old}

    stage = Stage(
        "remember", Slot.APPLY, update, reads=("p", "g", "eta"), writes=("p",),
        state=(StateSpec("old"), StateSpec("older")),
    )  # fmt: skip
    p = torch.nn.Parameter(torch.ones(5))
    optimizer = Optimizer([p], ep.chain(stage, hyper={"lr": 1.0}), runner=runner)
    for _ in range(3):
        p.grad = torch.ones(5)
        optimizer.step()
    values = [p[0].item(), optimizer.state[p]["old"][0].item(), optimizer.state[p]["older"][0].item()]
    assert values == [-2.0, -1.0, 0.0]


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (-1.0, 0.0), (1.0, -0.0), (0.0, 0.0), (math.nan, 0.0), (3.0, 2.0)])
def test_quotient_is_what_tensors_give(a, b):
    wanted = (torch.tensor(a) / torch.tensor(b)).item()
    assert quotient(a, b) == wanted or (math.isnan(wanted) and math.isnan(quotient(a, b)))


# ---- packing ---------------------------------------------------------------------------------------------------------

SHAPES = [(30,), (7, 3), (5,), (64,), (2, 2, 2), (9,), (40, 3), (11,)]


def packed_run(runner, skip=()):
    parameters = start(SHAPES)
    groups = [{"params": parameters[::2], "weight_decay": 0.3}, {"params": parameters[1::2], "lr": 0.2}]
    optimizer = ep.optim.AdamW(groups, lr=0.1, runner=runner)
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        for i, p in enumerate(parameters):
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            if (step, i) in skip:
                p.grad = None
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize("block", [50, 100, 1 << 18])
@pytest.mark.parametrize("skip", [(), ((1, 2), (3, 5))], ids=["all", "some without gradient"])
def test_packed_equals_reference(block, skip, monkeypatch):
    monkeypatch.setattr(run_blocked, "BLOCK", block)
    ours, optimizer = packed_run("blocked", skip)
    theirs, _ = packed_run("reference", skip)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(ours, theirs, strict=True))
    (batch,) = optimizer._stepper.last.batches
    packs = [unit for unit in batch.engine.units if unit.g is not None]
    members = sorted(i for unit in batch.engine.units for i in unit.members)
    assert members == list(range(len(SHAPES)))
    assert sum(len(pack.members) for pack in packs) > 2
    for pack in packs:
        assert pack.columns[0].numel() <= block
        assert skip or len({i < len(SHAPES) // 2 for i in pack.members}) == 1, "one pack, one row of coefficients"


def test_packing_can_fail(monkeypatch):
    """Coefficients of another group are seen."""
    monkeypatch.setattr(run_blocked, "_distinct", lambda rows: ([rows[0].tolist()], [0] * len(rows)))
    ours, _ = packed_run("blocked")
    theirs, _ = packed_run("reference")
    assert not all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


def test_numbers_of_a_step():
    chain = complete(ep.optim.adamw(lr=1e-3))
    layout = Layout(chain, 1, torch.float64, torch.float64, (torch.float64,) * 2, torch.device("cpu"))
    row = [0.1, *chain.coefs(SimpleNamespace(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, t=1))]
    p = torch.zeros(3, dtype=torch.float64)
    engine = Slices(layout, [p], [[p], [p]])
    _, ((*numbers,),) = engine._steady(program_for(layout), row, [])
    assert any(isinstance(n, float) and math.isclose(n, -0.1 / (1 - 0.9)) for n in numbers)
