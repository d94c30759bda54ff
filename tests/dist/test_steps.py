"""Sharded steps equal those of one process: every ready optimizer, every way to cut, every runner; and what they send.

`make test` runs few steps, each method in some layout of two processes and the kinds of stages in the layouts of four;
`make test-all` runs twenty steps of every method in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
import torch

from dist.processes import run
from laws.subjects import OPTIMS, chain_of
from laws.tolerances import EQUAL, FED_BACK

pytestmark = pytest.mark.dist

NAMES = list(OPTIMS)
TWO, FOUR = ("rows", "columns", "mixed"), ("hsdp", "both", "strided", "submesh")
# One method for each kind of stage: elementwise, rows, tensors, all tensors, matrices, with state of their own, by
# chance; and what mixes them.
KINDS = "adamw adamp lamb prodigy gsm muon soap dion gravity ranger21 adafactor normuon spectra cast lawn".split()
MOST_BYTES = 1.2  # of the least
LIMIT = 600  # seconds: a machine may be busy with much else
THREE = [(9, 4), (5,), (4, 3, 2)]


def job(layout: str, runner: str, names: Sequence[str], *, dtype: str = "float64", steps: int = 20, **more: object):
    return {"layout": layout, "runner": runner, "names": list(names), "dtype": dtype, "steps": steps, **more}


def said(world: int, jobs: Sequence[dict], limit: float, *, agree: bool = True) -> list[dict]:
    """What rank 0 says of each method; all ranks must say the same of what they found."""
    ranks = run("sharded_steps.py", world, list(jobs), limit=limit)
    if not agree:
        return ranks[0]
    words = [[(one["layout"], one["name"], one["error"], one["expected"]) for one in rank] for rank in ranks]
    assert all(own == words[0] for own in words)
    assert len(words[0]) == sum(len(own["names"]) for own in jobs)
    for one, *others in zip(*ranks, strict=True):
        one["bytes"] = [sum(own["bytes"][k] for own in (one, *others)) for k in (0, 1)]
    return ranks[0]


def bound(name: str, dtype: torch.dtype) -> float:
    return FED_BACK.get(name, EQUAL[dtype]) if dtype == torch.float32 else EQUAL[dtype]


def assert_equal(found: Sequence[dict]) -> None:
    far = [one for one in found if not one["error"] <= bound(one["name"], getattr(torch, one["dtype"]))]
    assert not far, "\n".join(f"{o['name']} ({o['layout']}, {o['runner']}, {o['dtype']}): {o['error']}" for o in far)


def assert_frugal(found: Sequence[dict]) -> None:
    """As many collectives as there are levels of reductions that need others, and hardly more bytes than that takes."""
    for one in found:
        where = f"{one['name']} ({one['layout']}, {one['runner']}, {one['tensors']} tensors)"
        assert len(one["sent"]) == one["expected"], f"{where}: {one['sent']}"
        sent, least = one["bytes"]
        assert least <= sent <= MOST_BYTES * least, f"{where}: {sent} bytes of matrices, {least} at least"


def rotated(names: Sequence[str], choices: Sequence[tuple[str, str]], **options) -> list[dict]:
    """One job for each (layout, runner); each name in one of them."""
    return [job(*c, names[k :: len(choices)], **options) for k, c in enumerate(choices) if names[k :: len(choices)]]


def test_every_method_on_two_processes() -> None:
    jobs = rotated(NAMES, list(product(TWO, ("reference", "blocked"))), steps=2)
    found = said(2, [*jobs, job("rows", "fused", ["lamb", "adamp"], steps=2)], LIMIT)
    assert_equal(found)
    assert_frugal(found)


def test_every_kind_of_stage_on_four_processes() -> None:
    jobs = rotated(KINDS, [(layout, "reference") for layout in FOUR], steps=3)
    found = said(4, [*jobs, job("submesh", "fused", ["muon"], steps=2)], LIMIT)
    assert_equal(found)
    assert_frugal(found)


def levels_of(name: str) -> set[str]:
    chain = chain_of(name)
    stages = (*chain.stages, *(chain.otherwise.stages if chain.otherwise else ()))
    return {stage.reduction for stage in stages} - {"none"}


def test_thirty_tensors_need_no_more_collectives_than_three() -> None:
    names = [name for name in NAMES if levels_of(name)]
    jobs = [job("rows", "reference", names, steps=2, shapes=THREE * n) for n in (1, 10)]
    found = said(2, jobs, LIMIT)
    assert_frugal(found)
    few, many = ({o["name"]: len(o["sent"]) for o in found if o["tensors"] == n} for n in (3, 30))
    assert few == many
    assert all(few[name] > 0 for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("runner", ["reference", "blocked"])
@pytest.mark.parametrize(("world", "layout"), [*product((2, 4), TWO), *product((4,), FOUR)])
def test_the_whole_matrix(world: int, layout: str, runner: str, dtype: str) -> None:
    found = said(world, [job(layout, runner, NAMES, dtype=dtype)], 1800)
    assert_equal(found)
    assert_frugal(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "layout", "dtype"), [(2, "rows", "float32"), (2, "mixed", "float64"), (4, "hsdp", "float64"),
                                   (4, "rows", "float64"), (4, "strided", "float64")],
)  # fmt: skip
def test_the_whole_matrix_traced(world: int, layout: str, dtype: str) -> None:
    """Through the fused runner, without the compiler: tracing takes most of the time."""
    found = said(world, [job(layout, "fused", NAMES, dtype=dtype)], 3600)
    assert_equal(found)
    assert_frugal(found)


# All sums over rows, tensors and everything, and a matrix stage: those of one barrier write state before it.
COMPILED = (
    "lamb adamp sgdp adam_cpr adams ranger21 adamh lars novograd prodigy dog dadapt_adam stable_spam agc_sgd gsm "
    "normuon muon"
).split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "layouts", "dtype"),
    [(2, TWO, "float64"), (2, ("rows",), "float32"), (4, ("rows", *FOUR), "float64")],
)
def test_compiled(world: int, layouts: tuple[str, ...], dtype: str) -> None:
    """With the kernels that users get; what is compiled for one layout serves the others."""
    jobs = [job(layout, "fused", COMPILED, dtype=dtype, backend="inductor") for layout in layouts]
    found = said(world, jobs, 3600)
    assert_equal(found)
    assert_frugal(found)


@pytest.mark.slow
def test_faults_are_seen() -> None:
    """One that counts rows twice changes nothing but what an eps adds to them."""
    seeds = [
        ("everyone speaks", "mixed", ["prodigy", "cast"]),
        ("rows of every column", "columns", ["agc_sgd", "adamp", "sgdp"]),
        ("nobody sums", "rows", ["lamb"]),
        ("rows turned", "rows", ["muon", "soap"]),
    ]
    found = said(
        2, [job(layout, "reference", names, fault=fault) for fault, layout, names in seeds], LIMIT, agree=False
    )
    errors = {one["name"]: one["error"] for one in found}
    for fault, _, names in seeds:
        assert max(errors[name] for name in names) > 10 * EQUAL[torch.float64], (fault, errors)
