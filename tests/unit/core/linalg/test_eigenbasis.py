"""Eigenbases and inverse powers of stacked matrices."""

import numpy as np
import pytest
import torch

import equipoise as ep
from equipoise._errors import ArgumentError
from equipoise.core.linalg import eigenbasis
from equipoise.core.linalg.eigenbasis import first_basis, next_basis, spanned_basis
from equipoise.core.linalg.inverse_power import inverse_power, spanned_inverse_powers
from equipoise.core.linalg.symmetric_eigen import symmetric_eigen


def covariance(rows, columns, seed=0, count=2):
    g = torch.from_numpy(np.random.default_rng(seed).standard_normal((count, rows, columns)))
    return g @ g.mT


@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (7, 3), (1, 1)])
def test_the_first_basis_diagonalizes(rows, columns):
    a = covariance(rows, columns)
    q = first_basis(a).mT
    assert (q.mT @ q - torch.eye(rows)).abs().max() < 1e-12
    inside = q.mT @ a @ q
    diagonal = inside.diagonal(dim1=-2, dim2=-1)
    assert (inside - torch.diag_embed(diagonal)).abs().max() < 1e-11
    assert (diagonal.diff(dim=-1) <= 1e-11).all()


def test_the_completion_of_a_singular_basis_is_the_same_for_another_eigensolver():
    a = covariance(7, 3, count=1)[0].numpy()
    values, vectors = np.linalg.eigh(a)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    vectors[:, :4] = vectors[:, :4] @ turn  # as good as the others for the eigenvalue 0
    vectors, values = -vectors[:, ::-1], values[::-1]
    wanted = np.linalg.qr(vectors * (values > 1e-12 * values[0]))[0]
    ours = first_basis(torch.from_numpy(a)[None])[0].mT.numpy()
    assert abs(abs(ours) - abs(wanted)).max() < 1e-12


def test_power_iteration_finds_the_eigenvectors():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(1, 5, 5, generator=generator, dtype=torch.float64)).Q
    a = (vectors * torch.tensor([5.0, 3.0, 1.0, 0.3, 0.1], dtype=torch.float64)) @ vectors.mT
    q = torch.eye(5, dtype=torch.float64)[None]
    for _ in range(60):
        q, order = next_basis(a, q)
    assert ((q @ vectors).abs() - torch.eye(5)).abs().max() < 1e-9
    assert order.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(("rows", "columns", "rank"), [(7, 3, 3), (9, 4, 2), (5, 1, 1), (6, 5, 0)])
def test_the_basis_of_a_long_side_follows_from_the_short_one(rows, columns, rank):
    """The two ways agree, on the completion too, whatever the rank."""
    numbers = np.random.default_rng(2)
    x = torch.from_numpy(numbers.standard_normal((2, rows, rank)) @ numbers.standard_normal((2, rank, columns)))
    short, wanted = first_basis(x.mT @ x), first_basis(x @ x.mT)
    room = torch.full_like(wanted, torch.nan)
    ours = spanned_basis(x, short, room=room)
    assert ours.data_ptr() == room.data_ptr()
    assert (ours.abs() - wanted.abs()).abs().max() < 1e-10
    assert torch.equal(ours, spanned_basis(x, short))


def test_a_basis_is_followed_in_place_a_few_rows_at_a_time(monkeypatch):
    a, q = covariance(7, 9), first_basis(covariance(7, 9, seed=4))
    turned = a @ q.mT
    falling = (q.mT * turned).sum(-2).argsort(descending=True)
    wanted = torch.linalg.qr(turned.gather(-1, falling[:, None, :].expand_as(turned))).Q
    for block in (1, 1 << 20):
        monkeypatch.setattr(eigenbasis, "_BLOCK", block)
        monkeypatch.setattr(eigenbasis, "_FEW", 2)
        mine = q.clone()
        new, order = next_basis(a, mine)
        assert new is mine
        assert torch.equal(order, falling)
        assert (new.mT - wanted).abs().max() < 1e-12


def test_the_order_says_where_each_column_came_from():
    a = torch.diag(torch.tensor([1.0, 3.0, 2.0]))[None]
    q, order = next_basis(a, torch.eye(3)[None])
    assert order.tolist() == [[1, 2, 0]]
    assert torch.equal(q.abs()[0].argmax(1), torch.tensor([1, 2, 0]))


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0])
def test_inverse_power(exponent):
    a = covariance(4, 9)
    root = inverse_power(a, exponent, 0.1)
    u, s, v = np.linalg.svd(a.numpy() + 0.1 * np.eye(4))
    assert abs(root.numpy() - (u * s[:, None, :] ** -exponent) @ v).max() < 1e-12


def test_inverse_power_leaves_unseen_directions_at_zero():
    a = torch.diag(torch.tensor([4.0, 0.0]))[None]
    assert torch.allclose(inverse_power(a, 0.5), torch.diag(torch.tensor([0.5, 0.0]))[None])
    assert torch.equal(inverse_power(torch.zeros(1, 3, 3), 0.25), torch.zeros(1, 3, 3))


def test_each_matrix_has_its_own_exponent_and_eps():
    a = covariance(3, 5)
    exponent, eps = torch.tensor([0.25, 0.5]).view(2, 1, 1), torch.tensor([0.0, 1.0]).view(2, 1, 1)
    both = inverse_power(a, exponent.double(), eps.double())
    assert torch.allclose(both[1], inverse_power(a[1:], 0.5, 1.0)[0])
    assert torch.allclose(both[0], inverse_power(a[:1], 0.25)[0])


@pytest.mark.parametrize("shape", [(7, 3), (4, 4), (5, 1)])
@pytest.mark.parametrize(("exponent", "eps"), [(0.25, 0.0), (0.25, 1e-3), (1.0, 0.5), (0.5, 0.0)])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_powers_of_one_gradients_covariances_follow_from_its_singular_values(shape, exponent, eps, rank):
    n, m = shape
    rank, random = min(rank, m), np.random.default_rng(rank + n)
    x = random.standard_normal((2, n, rank)) @ random.standard_normal((2, rank, m))
    out = torch.full((2, n, n), torch.nan, dtype=torch.float64), torch.full((2, m, m), torch.nan, dtype=torch.float64)
    over = torch.tensor([3.0, 0.2], dtype=torch.float64).view(2, 1, 1)
    given = torch.from_numpy(x)
    spanned_inverse_powers(given, over * (given.mT @ given), exponent, eps, over=over, out=out)
    u, s, v = np.linalg.svd(x)
    for vectors, got in zip((u, v.swapaxes(1, 2)), out, strict=True):
        squares = np.zeros((2, vectors.shape[-1]))
        squares[:, :rank] = s[:, :rank] ** 2
        powers = np.zeros_like(squares)
        np.power(squares + eps, -exponent, out=powers, where=squares + eps > 0)
        want = (vectors * powers[:, None, :]) @ vectors.swapaxes(1, 2)
        assert abs(got.numpy() - want).max() < 1e-9 * max(abs(want).max(), 1.0)


def test_a_gradient_that_is_not_finite_is_named():
    a = covariance(3, 5)
    a[1, 0, 0] = float("nan")
    for function in (first_basis, lambda a: inverse_power(a, 0.25)):
        with pytest.raises(ArgumentError, match=r"not finite in matrices \[1\].*skip_nonfinite"):
            function(a)


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 1e30])
@pytest.mark.parametrize("kind", ["SOAP", "Shampoo"])
def test_state_stays_where_a_decomposition_would_fail(kind, value):
    """A gradient that is not finite, or whose squares are not, is named before anything is overwritten."""
    p = torch.nn.Parameter(torch.randn(4, 3))
    pair = p, torch.nn.Parameter(p.detach().clone())
    optimizer, twin = (getattr(ep.optim, kind)([own], lr=0.1, refresh_every=1, runner="reference") for own in pair)
    for step in range(3):
        g = torch.randn(4, 3)
        if step == (1 if kind == "Shampoo" else 0):
            p.grad = g.clone()
            p.grad[1, 2] = value
            with pytest.raises(ArgumentError, match=r"not finite in matrices \[0\].*skip_nonfinite"):
                optimizer.step()
        for own, stepper in zip(pair, (optimizer, twin), strict=True):
            own.grad = g.clone()
            stepper.step()
    states = [own.state[one].values() for own, one in zip((optimizer, twin), pair, strict=True)]
    assert torch.equal(*pair)
    assert all(map(torch.equal, *states))


def test_eigenvectors_come_in_the_room_given():
    a, room = covariance(5, 7), torch.empty(2, 5, 5, dtype=torch.float64)
    values, vectors = symmetric_eigen(a, room=room)
    assert vectors.data_ptr() == room.data_ptr()
    assert torch.allclose((vectors * values[:, None, :]) @ vectors.mT, a)
    room.zero_()
    assert torch.equal(inverse_power(a, 0.25, room=room), inverse_power(a, 0.25))
    assert torch.equal(first_basis(a, room=room), first_basis(a))


def test_a_solver_that_does_not_converge_gets_more_digits(monkeypatch):
    whole = torch.linalg.eigh

    def fails_in_float32(a, **more):
        if a.dtype == torch.float32:
            raise torch.linalg.LinAlgError
        return whole(a, **more)

    a = covariance(3, 5).float()
    wanted = first_basis(a)
    monkeypatch.setattr(torch.linalg, "eigh", fails_in_float32)
    for room in (None, torch.empty_like(a)):
        ours = first_basis(a, room=room)
        assert ours.dtype == torch.float32
        assert (ours.abs() - wanted.abs()).abs().max() < 1e-5
