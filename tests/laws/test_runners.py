"""Law: blocked and fused equal reference, the compiled graph really ran, and it was compiled once."""

import pytest
import torch

import equipoise as ep
from equipoise.core import kernels, run_blocked, run_fused
from equipoise.core.entry import RunnerChoice
from equipoise.core.optimizer import Optimizer
from laws.subjects import OPTIMS, chain_of, start, train
from laws.tolerances import EQUAL

# More tensors than one list holds, one that is longer than a slice, one of two elements.
SLICE = 1 << 16  # of the blocked runner; its own is longer than any tensor here
SHAPES = [(7, 5), (2,), (131, 1007), (4, 3, 2, 2), (1, 1), (), *[(k, 3) for k in range(2, 9)]]


def stepped(name, runner, *, dtype, backend="inductor", steps=6, length=8, **options):
    parameters = start(SHAPES, dtype=dtype)
    optimizer = Optimizer(parameters, chain_of(name), runner=runner, **options)
    optimizer._choice = RunnerChoice(runner, "test", length=length, backend=backend)
    train(optimizer, parameters, steps)
    return parameters, optimizer


def assert_equal(ours, theirs, dtype):
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= EQUAL[dtype] * max(1.0, b.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPTIMS)
def test_blocked_equals_reference(name, dtype, monkeypatch):
    monkeypatch.setattr(run_blocked, "BLOCK", SLICE)
    reference, _ = stepped(name, "reference", dtype=dtype)
    blocked, _ = stepped(name, "blocked", dtype=dtype)
    assert_equal(blocked, reference, dtype)


@pytest.mark.parametrize("name", OPTIMS)
def test_fused_equals_reference_traced(name):
    """Over the whole registry with the aot_eager backend: tracing, symbolic lengths, functionalization, lists."""
    dtype = torch.float64
    before = len(kernels.kernels())
    reference, _ = stepped(name, "reference", dtype=dtype, steps=4)
    fused, optimizer = stepped(name, "fused", dtype=dtype, backend="aot_eager", steps=4, length=3)
    assert_equal(fused, reference, dtype)
    assert optimizer._stepper is not None
    (plan,) = optimizer._stepper.plans.values()
    layouts = {batch.engine.layout for batch in plan.batches}
    assert len(layouts) <= 5  # by rank of tensors, by size where it reduces, and vectors beside matrices
    assert len(kernels.kernels()) - before <= sum(1 + layout.barriers for layout in layouts)  # one kernel per phase
    for batch in plan.batches:
        lists = -(-len(batch.members) // batch.engine.length)
        assert len(batch.engine.kernels) == 1 + batch.engine.layout.barriers
        assert all(kernel.calls >= 4 * lists for kernel in batch.engine.kernels.values())


@pytest.mark.compile
@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_fused_equals_reference_compiled(name, require, monkeypatch):
    require("compiler")
    compiled = []
    real = kernels.BACKENDS["inductor"]
    monkeypatch.setitem(kernels.BACKENDS, "inductor", lambda *a: compiled.append(1) or real(*a))
    kernels._KERNELS.clear()
    reference, _ = stepped(name, "reference", dtype=torch.float32)
    fused, optimizer = stepped(name, "fused", dtype=torch.float32)
    assert_equal(fused, reference, torch.float32)
    assert len(compiled) == 1, "one kernel for thirteen tensors of any length and six steps"
    assert optimizer._stepper is not None
    (plan,) = optimizer._stepper.plans.values()
    (kernel,) = plan.batches[0].engine.kernels.values()
    assert kernel.calls == 6, "the driver is called once a step"


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMS)
def test_everything_compiled(name, dtype, require):
    require("compiler")
    reference, _ = stepped(name, "reference", dtype=dtype)
    fused, optimizer = stepped(name, "fused", dtype=dtype)
    assert_equal(fused, reference, dtype)
    assert optimizer._stepper is not None
    (plan,) = optimizer._stepper.plans.values()
    phases = [kernel.phase for batch in plan.batches for kernel in batch.engine.kernels.values()]
    assert None not in phases, "the driver runs every phase of every optimizer"


def test_the_law_can_fail(monkeypatch):
    """A kernel that drops one list is seen."""
    monkeypatch.setattr(run_fused.Lists, "run", lambda self, gs, rows: (wait for wait in ()))
    reference, _ = stepped("adamw", "reference", dtype=torch.float64)
    fused, _ = stepped("adamw", "fused", dtype=torch.float64, backend="aot_eager")
    with pytest.raises(AssertionError):
        assert_equal(fused, reference, torch.float64)


def test_more_kinds_of_chain_than_dynamo_would_compile():
    """Dynamo stops at 8 recompilations of one function and then runs eager without a word; nothing here counts."""
    shrink, apply, ema = ep.decay.shrink, ep.stages.apply, ep.stages.ema
    cells = [(p, m, t) for p in ("before", "after", "prox") for m in ("l2", "l1") for t in ("zero", "init")]
    for place, metric, target in cells:
        parts = [ema(), apply()]
        parts.insert(1 if place == "before" else 2, shrink(place=place, metric=metric, target=target))
        chain = ep.chain(*parts, hyper={"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1})
        parameters, twins = start([(5, 3)]), start([(5, 3)])
        optimizer = Optimizer(parameters, chain, runner="fused")
        optimizer._choice = RunnerChoice("fused", "test", backend="aot_eager")
        train(optimizer, parameters, 3)
        train(Optimizer(twins, chain, runner="reference"), twins, 3)
        assert_equal(parameters, twins, torch.float64)
        (plan,) = optimizer._stepper.plans.values()
        (kernel,) = plan.batches[0].engine.kernels.values()
        assert kernel.calls == 3
