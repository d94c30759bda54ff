"""Shampoo and SOAP: their options against the oracles, first steps, turned gradients, steps that are missed."""

import numpy as np
import pytest
import torch

import equipoise as ep
from equipoise._errors import ArgumentError, StateError
from equipoise.optim.shampoo import Shampoo, shampoo
from equipoise.optim.soap import SOAP, soap
from oracles.optim import shampoo as shampoo_oracle
from oracles.optim import soap as soap_oracle
from unit.optim.noise import as_numpy, gradients, start, train

SHAPES = [(4, 6), (6, 4), (1, 1), (3, 2, 2, 2)]


def check(chain, oracle, steps=10, shapes=SHAPES, **values):
    parameters = start(shapes)
    grads = [as_numpy(gradients(parameters, k)) for k in range(steps)]
    wanted = [oracle.run(p, [g[i] for g in grads], **values) for i, p in enumerate(as_numpy(parameters))]
    train(ep.Optimizer(parameters, chain(**values)), parameters, steps)
    for p, w in zip(as_numpy(parameters), wanted, strict=True):
        assert abs(p - w).max() < 1e-10


@pytest.mark.parametrize("accumulate", ["sum", "average"])
@pytest.mark.parametrize("graft", [None, "sgd", "adam"])
@pytest.mark.parametrize("exponent", [None, 0.5])
def test_shampoos_options(accumulate, graft, exponent):
    values = {"accumulate": accumulate, "graft": graft, "exponent": exponent, "damping": 0.05, "refresh_every": 3}
    check(shampoo, shampoo_oracle, lr=0.05, weight_decay=0.1, **values)


@pytest.mark.parametrize("max_dim", [0, 4, 5, 100])
def test_sides_that_are_too_long_are_left_alone(max_dim):
    check(shampoo, shampoo_oracle, lr=0.05, damping=0.05, refresh_every=2, max_dim=max_dim)
    check(soap, soap_oracle, lr=0.05, refresh_every=2, max_dim=max_dim)


@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 5, None])
@pytest.mark.parametrize("graft", [None, "adam"])
def test_long_sides_are_cut_into_blocks(block_size, graft):
    shapes = [(7, 4), (3, 10), (11, 1), (5, 3, 2, 2)]
    words = {"damping": 0.05, "refresh_every": 2, "graft": graft, "block_size": block_size}
    check(shampoo, shampoo_oracle, lr=0.05, shapes=shapes, **words)
    check(shampoo, shampoo_oracle, lr=0.05, shapes=shapes, max_dim=9, **words)


def test_state_of_blocks_is_small():
    (p,) = start([(11, 4)])
    optimizer = Shampoo([p], block_size=4)
    train(optimizer, [p], 1)
    shapes = {name.split(".")[-1]: tuple(value.shape) for name, value in optimizer.state[p].items()}
    assert (shapes["left"], shapes["right_root"]) == ((1, 3, 4, 4), (1, 3, 4, 4))


@pytest.mark.parametrize("every", [1, 3, 20])
def test_soaps_bases_turn_every_so_often(every):
    check(soap, soap_oracle, lr=0.05, refresh_every=every, shampoo_beta=0.8, shapes=SHAPES[:3])


def test_shampoos_first_step_without_damping_is_along_the_polar_factor():
    (p,) = start([(4, 6)])
    before = p.detach().clone()
    optimizer = Shampoo([p], lr=0.1, damping=0.0)
    train(optimizer, [p], 1)
    u, _, v = np.linalg.svd(p.grad.numpy(), full_matrices=False)
    assert abs((before - p.detach()).numpy() - 0.1 * u @ v).max() < 1e-12


def test_soaps_first_step_moves_no_matrix():
    p, q = start([(4, 6), (3,)])
    before = [x.detach().clone() for x in (p, q)]
    train(SOAP([p, q], lr=0.1, weight_decay=0.5), [p, q], 1)
    assert torch.equal(p, before[0])
    assert not torch.equal(q, before[1])


def test_soap_without_bases_is_adam_one_step_late():
    values = {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-3}
    (p,), (q,) = start([(4, 6)]), start([(4, 6)])
    train(SOAP([p], max_dim=0, **values), [p], 6)
    hyper = {**values, "betas": (0.95, 0.95)}
    parts = [ep.stages.ema(), ep.stages.second_moment(eps_place="hat"), ep.stages.divide(), ep.stages.apply()]
    adam = ep.chain(*parts, ep.decay.shrink(place="after"), hyper=hyper)
    train(ep.Optimizer([q], adam), [q], 5, first=1)
    assert torch.allclose(p, q, atol=1e-14)


def test_soaps_bases_stay_orthogonal():
    (p,) = start([(6, 4)], dtype=torch.float32)
    optimizer = SOAP([p], lr=0.1, refresh_every=2)
    train(optimizer, [p], 40)
    for side, n in (("left", 6), ("right", 4)):
        q = optimizer.state[p][f"{side}_basis"]
        assert q.shape == (1, n, n)
        assert (q.mT @ q - torch.eye(n)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", [SOAP, Shampoo])
def test_turned_gradients_turn_the_path(kind):
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q for _ in range(2))
    ends = []
    for turned in (False, True):
        p = torch.nn.Parameter(torch.zeros(5, 5, dtype=torch.float64))
        optimizer = kind([p], lr=0.1, weight_decay=0.0, refresh_every=3)
        for k in range(8):
            g = gradients([p], k)[0]
            p.grad = a @ g @ b if turned else g
            optimizer.step()
        ends.append(p.detach())
    assert torch.allclose(a @ ends[0] @ b, ends[1], atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "words"), [(SOAP, {}), (Shampoo, {}), (Shampoo, {"block_size": 2})], ids=["SOAP", "Shampoo", "blocks"]
)
def test_matrices_of_one_stack_keep_their_own_step_counts(kind, words):
    """One that misses gradients goes as it would alone; the stack's other matrix does not see it."""
    together, alone = start([(4, 3), (4, 3)]), start([(4, 3), (4, 3)])
    steps = {0, 2, 3, 5, 6}
    both = kind(together, lr=0.1, refresh_every=2, **words)
    apart = [kind([p], lr=0.1, refresh_every=2, **words) for p in alone]
    for k in range(7):
        grads = gradients(together, k)
        for i, (p, q) in enumerate(zip(together, alone, strict=True)):
            p.grad, q.grad = (grads[i].clone(), grads[i].clone()) if i == 0 or k in steps else (None, None)
        both.step()
        for optimizer in apart:
            optimizer.step()
    for p, q in zip(together, alone, strict=True):
        assert torch.allclose(p, q, atol=1e-12)


def test_eigendecompositions_happen_only_when_due(monkeypatch):
    calls = []
    whole = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda a, **k: calls.append(a.shape) or whole(a, **k))
    parameters = start([(4, 3), (4, 3)])
    train(Shampoo(parameters, lr=0.1, refresh_every=4), parameters, 9)
    # For the whole stack at once: of the shorter side at step 1, of both at steps 5 and 9.
    assert [shape[-1] for shape in calls] == [3, 4, 3, 4, 3]


@pytest.mark.parametrize("runner", ["reference", "blocked"])
@pytest.mark.parametrize("kind", [SOAP, Shampoo])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_step_that_fails_between_two_matrices_is_not_gone_on_from(kind, runner, bad):
    """The first matrix had been solved when the second one was refused; where the first is refused nothing happened."""
    parameters = start([(4, 3), (5, 2)])
    optimizer = kind(parameters, lr=0.1, refresh_every=1, runner=runner)
    for p, g in zip(parameters, gradients(parameters, 0), strict=True):
        p.grad = g.clone()
    parameters[bad].grad[0, 0] = torch.inf
    with pytest.raises(ArgumentError, match="not finite in matrices"):
        optimizer.step()
    parameters[bad].grad[0, 0] = 1.0
    if bad == 1:
        with pytest.raises(StateError, match=r"half a step \(ArgumentError in step 1\).*Load the last checkpoint"):
            optimizer.step()
        optimizer.state.clear()
    optimizer.step()


@pytest.mark.parametrize(
    ("make", "largest"),
    [(lambda ps: SOAP(ps, refresh_every=2), 6), (lambda ps: Shampoo(ps, block_size=16, refresh_every=2), 14)],
)
def test_nothing_as_large_as_a_long_side_is_decomposed(monkeypatch, make, largest):
    """At the first step both know the longer side from the shorter; later Shampoo cuts 40 into 14, 14 and 12."""
    sides = []
    whole = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda a, **k: sides.append(a.shape[-1]) or whole(a, **k))
    parameters = start([(40, 6), (6, 40)])
    optimizer = make(parameters)
    train(optimizer, parameters, 1)
    assert max(sides) == 6
    train(optimizer, parameters, 4)
    assert max(sides) == largest


def test_what_they_refuse():
    with pytest.raises(ArgumentError, match="refresh_every"):
        soap(refresh_every=0)
    with pytest.raises(ArgumentError, match="block_size"):
        shampoo(block_size=0)
    with pytest.raises(ArgumentError, match="graft"):
        shampoo(graft="lion")
    with pytest.raises(ArgumentError, match="damping"):
        shampoo(damping=-1.0)
