"""Adafactor: torch's numbers for matrices and vectors, and what its factors can and cannot hold."""

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.core.linalg.factored import follow, root_of_product
from laws.subjects import start, train

CASES = [
    {"lr": 0.05},
    {"lr": 5.0},  # capped at 1 / sqrt(t)
    {"lr": 0.05, "weight_decay": 0.3, "beta2_decay": -0.5, "eps1": 0.2, "eps2": 0.5, "most": 1.1},
]


@pytest.mark.parametrize("runner", ["reference", "blocked"])
@pytest.mark.parametrize("values", CASES)
def test_agrees_with_torch(values, runner):
    shapes = [(6, 4), (5,), (), (1, 3), (4, 1)]
    ours, theirs = start(shapes), start(shapes)
    train(ep.optim.Adafactor(ours, runner=runner, **values), ours, 30)
    words = dict(values)
    eps, d = (words.pop("eps1", None), words.pop("eps2", 1e-3)), words.pop("most", 1.0)
    train(torch.optim.Adafactor(theirs, eps=eps, d=d, foreach=False, **words), theirs, 30)
    for p, q in zip(ours, theirs, strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-11)


def test_state_is_a_row_and_a_column():
    p, b = (nn.Parameter(torch.ones(s)) for s in ((50, 40), (50,)))
    optimizer = ep.optim.Adafactor([p, b])
    for q in (p, b):
        q.grad = torch.ones_like(q)
    optimizer.step()
    sizes = {key: tuple(value.shape) for key, value in optimizer.state[p].items() if key != "step"}
    assert sizes == {"row_var": (1, 50, 1), "col_var": (1, 1, 40)}
    assert set(optimizer.state[b]) == {"step", "variance"}


def second_moment(squares, rows, columns, once):
    """V after one step, from factors of 0, on gradients with these squares."""
    return root_of_product(*follow(squares, rows, columns, once), 0.0, out=torch.empty_like(squares)).square()


def test_factors_hold_an_outer_product_exactly_and_keep_row_and_column_means():
    generator = torch.Generator().manual_seed(0)
    a, b, s = (
        torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((2, 5, 1), (2, 1, 4), (2, 5, 4))
    )
    once = torch.ones(2, 1, 1, dtype=torch.float64)
    rows, columns = torch.zeros_like(a), torch.zeros_like(b)
    assert torch.allclose(second_moment(a * b, rows, columns, once), a * b, atol=1e-14)
    v = second_moment(s, rows, columns, once)
    assert torch.allclose(v.mean(-1), s.mean(-1), atol=1e-14)
    assert torch.allclose(v.mean(-2), s.mean(-2), atol=1e-14)
    assert not torch.allclose(v, s, atol=0.1)


def test_a_step_is_in_units_of_the_weight():
    steps = []
    for size in (1.0, 8.0):
        (p,) = start([(6, 4)])
        p.data.mul_(size)
        before = p.detach().clone()
        train(ep.optim.Adafactor([p], lr=0.1), [p], 1)
        steps.append(p.detach() - before)
    assert torch.allclose(8 * steps[0], steps[1], rtol=1e-12)


def test_a_gradient_of_nought_moves_nothing():
    for shape in ((3, 2), (3,)):
        p = nn.Parameter(torch.ones(shape))
        p.grad = torch.zeros_like(p)
        ep.optim.Adafactor([p], eps1=0.0).step()
        assert torch.equal(p.detach(), torch.ones(shape))


def test_a_memory_that_shrinks_is_refused():
    with pytest.raises(ArgumentError, match="beta2_decay"):
        ep.optim.adafactor(beta2_decay=0.5)
