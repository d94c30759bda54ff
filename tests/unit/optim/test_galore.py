"""GaLore: its options against the oracle, what its state costs, what turns along, and which directions are kept."""

import numpy as np
import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.optim.galore import GaLore, galore
from oracles.optim import galore as oracle
from unit.optim.noise import as_numpy, gradients, start, train

SHAPES = [(4, 6), (6, 4), (5, 5), (1, 1), (3, 2, 2, 2), (4,)]


def step(optimizer, p, g):
    p.grad = g.clone()
    optimizer.step()
    return p.detach().clone()


@pytest.mark.parametrize("rank", [1, 3, 100])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_options_equal_the_oracle(rank, every):
    values = {"lr": 0.1, "beta1": 0.7, "weight_decay": 0.2, "rank": rank, "refresh_every": every, "scale": 0.6}
    parameters = start(SHAPES)
    grads = [as_numpy(gradients(parameters, k)) for k in range(8)]
    wanted = [oracle.run(p, [g[i] for g in grads], **values) for i, p in enumerate(as_numpy(parameters))]
    train(ep.Optimizer(parameters, galore(**values)), parameters, 8)
    for p, w in zip(as_numpy(parameters), wanted, strict=True):
        assert abs(p - w).max() < 1e-10


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_state_is_of_low_rank(shape):
    (p,) = start([shape])
    optimizer = GaLore([p], rank=3)
    train(optimizer, [p], 2)
    kept = {key: tuple(value.shape) for key, value in optimizer.state[p].items() if key != "step"}
    long, short = max(shape), min(shape)
    assert kept == {"basis": (1, short, 3), "exp_avg": (1, long, 3), "exp_avg_sq": (1, long, 3)}


def test_a_step_has_no_more_than_that_rank():
    (p,) = start([(12, 9)])
    optimizer, before = GaLore([p], lr=0.1, rank=3, refresh_every=2), p.detach().clone()
    for k in range(4):
        after = step(optimizer, p, gradients([p], k)[0])
        assert torch.linalg.matrix_rank(after - before, tol=1e-10) == 3
        before = after


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_with_every_direction_of_the_first_gradient_it_is_adam(shape):
    """Its singular vectors are the axes: then the averages are Adam's."""
    (p,), (q,) = start([shape]), start([shape])
    diagonal = torch.zeros(shape, dtype=torch.float64)
    diagonal.diagonal().copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    ours = GaLore([p], lr=0.1, weight_decay=0.1, eps=1e-3, rank=4, scale=1.0)
    adam = GaLore([q], lr=0.1, weight_decay=0.1, eps=1e-3, low_rank=False)
    for k in range(6):
        g = diagonal if k == 0 else gradients([p], k)[0]
        assert torch.allclose(step(ours, p, g), step(adam, q, g), atol=1e-13)


def test_without_memory_it_is_the_sign_of_the_projection():
    (p,) = start([(6, 4)])
    (g,), before = gradients([p], 0), p.detach().clone()
    after = step(GaLore([p], lr=0.1, betas=(0.0, 0.0), eps=0.0, rank=2, scale=0.5), p, g)
    q = np.linalg.svd(g.numpy())[2][:2].T
    assert abs((before - after).numpy() - 0.05 * np.sign(g.numpy() @ q) @ q.T).max() < 1e-12


def turned_gap(side, shape, rank):
    """How far the turned path is from the path on turned gradients."""
    n = shape[0] if side == "left" else shape[1]
    q = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q

    def turn(x):
        return q @ x if side == "left" else x @ q

    ends = []
    for change in (lambda x: x, turn):
        p = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        optimizer = GaLore([p], lr=0.1, rank=rank, refresh_every=3)
        for k in range(8):
            end = step(optimizer, p, change(gradients([p], k)[0]))
        ends.append(end)
    return (turn(ends[0]) - ends[1]).abs().max().item()


@pytest.mark.parametrize("rank", [2, 4])
def test_turning_the_shorter_side_turns_the_path_and_the_longer_does_not(rank):
    assert turned_gap("right", (6, 4), rank) < 1e-9
    assert turned_gap("left", (4, 6), rank) < 1e-9
    assert turned_gap("left", (6, 4), rank) > 1e-3
    assert turned_gap("right", (4, 6), rank) > 1e-3


def test_the_solvers_signs_do_not_matter(monkeypatch):
    real, generator = torch.linalg.svd, torch.Generator().manual_seed(0)

    def flipped(x, full_matrices):
        u, s, vh = real(x, full_matrices=full_matrices)
        signs = torch.randint(0, 2, s.shape, generator=generator) * 2.0 - 1
        return type("Found", (), {"U": u * signs[..., None, :], "S": s, "Vh": vh * signs[..., None]})

    ends = []
    for solver in (real, flipped):
        monkeypatch.setattr(torch.linalg, "svd", solver)
        (p,) = start([(6, 4)])
        train(GaLore([p], lr=0.1, rank=2, refresh_every=2), [p], 9)
        ends.append(p.detach())
    assert torch.allclose(*ends, atol=1e-12)


def test_decompositions_happen_only_when_due(monkeypatch):
    calls, real = [], torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda x, **words: calls.append(x.shape) or real(x, **words))
    parameters = start([(4, 3), (4, 3)])
    train(GaLore(parameters, rank=2, refresh_every=4), parameters, 9)
    assert calls == [(2, 4, 3)] * 3  # at steps 1, 5 and 9, for the whole stack at once


def test_without_a_gradient_directions_are_kept_or_waited_for():
    late, early = start([(4, 3), (4, 3)])
    optimizer = GaLore([late, early], lr=0.1, rank=2, refresh_every=3)
    zero = torch.zeros_like(late)
    before, held = late.detach().clone(), []
    for k in range(4):
        late.grad, early.grad = zero.clone(), zero.clone() if k == 3 else gradients([early], k)[0]
        optimizer.step()
        held.append(optimizer.state[early]["basis"].clone())
    assert torch.equal(late, before)
    assert torch.equal(held[0], held[3])  # the fourth step was due, and had nothing to go by
    (g,) = gradients([late], 9)
    late.grad, early.grad = g, zero.clone()
    optimizer.step()
    basis = optimizer.state[late]["basis"][0].numpy()
    wanted = np.linalg.svd(g.numpy())[2][:2].T
    assert abs(basis @ basis.T - wanted @ wanted.T).max() < 1e-12


def test_matrices_of_a_stack_keep_their_own_step_counts():
    together, alone = start([(4, 3), (4, 3)]), start([(4, 3), (4, 3)])
    both = GaLore(together, lr=0.1, rank=2, refresh_every=2)
    apart = [GaLore([p], lr=0.1, rank=2, refresh_every=2) for p in alone]
    for k in range(7):
        grads = gradients(together, k)
        for i, (p, q) in enumerate(zip(together, alone, strict=True)):
            p.grad, q.grad = (grads[i].clone(), grads[i].clone()) if i == 0 or k in (0, 2, 3, 6) else (None, None)
        both.step()
        for optimizer in apart:
            optimizer.step()
    for p, q in zip(together, alone, strict=True):
        assert torch.allclose(p, q, atol=1e-12)


def test_of_a_model_the_hidden_matrices_are_projected():
    net = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 7))
    optimizer = GaLore(net, rank=2, weight_decay=0.1, verbose=False)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    projected = [name for name, p in net.named_parameters() if "basis" in optimizer.state[p]]
    assert projected == ["1.weight"]
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decays[id(net[i].weight)] for i in (0, 1, 3)] == [0.1] * 3
    assert decays[id(net[1].bias)] == decays[id(net[2].weight)] == 0.0


@pytest.mark.parametrize(("name", "value"), [("rank", 0), ("scale", -1.0), ("refresh_every", 0), ("beta2", 1.0)])
def test_numbers_out_of_range_are_named(name, value):
    with pytest.raises(ArgumentError, match=name):
        galore(**{name: value})


def test_an_infinite_gradient_is_named():
    (p,) = start([(4, 3)])
    with pytest.raises(ArgumentError, match="gradient to project"):
        step(GaLore([p], rank=2), p, torch.full_like(p, float("inf")))
