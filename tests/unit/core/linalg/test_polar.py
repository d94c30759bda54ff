"""Newton-Schulz on stacks against the plain iteration in NumPy, against the SVD, and against torch's in bfloat16."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from equipoise._errors import ArgumentError
from equipoise.core.linalg import polar
from equipoise.core.linalg.polar import blocks_of, newton_schulz
from equipoise.core.linalg.polar_coefficients import SETS, coefficients_of
from oracles.core import polar as oracle

SHAPES = [(1, 1), (5, 3), (4, 24), (24, 4), (8, 8), (7, 16)]


def matrices(shape, count=3, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_condition(rows, columns, condition, seed=0):
    """Matrices with singular values from 1 down to 1 / condition, spaced evenly in the logarithm."""
    short = min(rows, columns)
    values = torch.logspace(0, -np.log10(condition), short, dtype=torch.float64)
    u, v = (torch.linalg.qr(matrices((n, short), 4, seed + k))[0] for k, n in enumerate((rows, columns)))
    return (u * values) @ v.mT


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SETS)
def test_equals_the_plain_iteration(name, shape):
    x = matrices(shape)
    ours = newton_schulz(x, coefficients_of(name)).numpy()
    for given_matrix, got in zip(x.numpy(), ours, strict=True):
        assert abs(got - oracle.newton_schulz(given_matrix, coefficients_of(name))).max() < 1e-12


def test_named_sets_are_the_published_ones():
    assert coefficients_of("jordan") == tuple(oracle.JORDAN)
    assert coefficients_of("quintic5") == tuple(oracle.QUINTIC5)
    assert coefficients_of("lipschitz6") == tuple(oracle.LIPSCHITZ6)
    first, *_, last = coefficients_of("polar_express", 8)
    assert first == pytest.approx((8.205160414005573, -22.901934987056034, 16.460724910180303))
    assert last == (1.875, -1.25, 0.375)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("jordan", 0.681, 1.135),
        ("quintic5", 0.977, 1.032),
        ("lipschitz6", 0.995, 0.9994),
        ("polar_express", 0.87, 1.124),
    ],
)
def test_singular_values_above_a_hundredth_land_near_one(name, low, high):
    s = np.geomspace(0.01, 1.0, 3001)
    for a, b, c in coefficients_of(name):
        s = a * s + b * s**3 + c * s**5
    assert low <= s.min() < low + 0.002
    assert high - 0.002 < s.max() <= high


def test_a_convergent_set_gives_the_polar_factor():
    x = matrices((9, 20))
    got = newton_schulz(x, coefficients_of("cubic", 40)).numpy()
    for given_matrix, factor in zip(x.numpy(), got, strict=True):
        assert abs(factor - oracle.polar_factor(given_matrix)).max() < 1e-12


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 9), columns=st.integers(1, 9), scale=st.floats(1e-3, 1e6))
def test_rotations_pass_through_and_scale_is_not_seen(seed, rows, columns, scale):
    x = matrices((rows, columns), 1, seed)
    left, right = (torch.linalg.qr(matrices((n, n), 1, seed + n))[0] for n in (rows, columns))
    triples = coefficients_of("jordan")
    plain = newton_schulz(x, triples)
    assert torch.allclose(newton_schulz(left @ x @ right, triples), left @ plain @ right, atol=1e-10)
    assert torch.allclose(newton_schulz(scale * x, triples), plain, atol=1e-10)


def test_a_stack_is_its_matrices_and_the_factor_is_a_factor():
    x, triples = matrices((6, 18)), coefficients_of("quintic5")
    together = newton_schulz(x, triples, scale=3.0)
    before = x.clone()
    for k in range(len(x)):
        assert torch.allclose(together[k : k + 1], 3 * newton_schulz(x[k : k + 1], triples), atol=1e-13)
    assert torch.equal(x, before)


def test_zero_and_empty_matrices():
    triples = coefficients_of("jordan")
    assert newton_schulz(torch.zeros(2, 3, 8), triples).eq(0).all()
    for shape in [(2, 0, 3), (2, 3, 0), (0, 3, 4)]:
        assert newton_schulz(torch.empty(shape), triples).shape == shape


def test_below_eps_a_matrix_is_not_scaled_up():
    x = matrices((4, 8)) * 1e-9
    wanted = oracle.newton_schulz(x[0].numpy(), oracle.JORDAN, eps=1e-7)
    assert abs(newton_schulz(x, oracle.JORDAN, eps=1e-7)[0].numpy() - wanted).max() < 1e-14
    assert abs(wanted).max() < 1.0


def test_long_matrices_restart_and_square_ones_go_one_by_one():
    def lengths(name, ratio, dtype):
        return [len(block) for block in blocks_of(coefficients_of(name), ratio, dtype)]

    assert lengths("jordan", 1.0, torch.bfloat16) == [1] * 5
    assert lengths("jordan", 3.0, torch.bfloat16) == [2, 2, 1]
    assert lengths("polar_express", 3.0, torch.bfloat16) == [1, 2, 2]
    assert lengths("lipschitz6", 4.0, torch.bfloat16) == [2, 2, 2]
    assert lengths("jordan", 3.0, torch.float32) == [3, 2]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("rows", [2, 8, 64])
def test_in_bfloat16_one_dominant_direction_makes_nothing_diverge(name, rows):
    """The gradient of a young network: one large singular value, others around the root of the rounding unit.

    The directions live in the first `rows` rows: where they share few entries, rounding of the Gram matrix is largest.
    """
    short, long = 64, 256
    x = torch.zeros(6, short, long, dtype=torch.float64)
    for k, small in enumerate((0.3, 0.1, 0.05, 0.03, 0.01, 0.001)):
        u = torch.linalg.qr(matrices((rows, rows), 1, k)[0])[0]
        v = torch.linalg.qr(matrices((long, rows), 1, k + 9)[0])[0]
        values = torch.full((rows,), small, dtype=torch.float64)
        values[0] = 1.0
        x[k, :rows] = (u * values) @ v.T
    for stack in (x, x.mT.contiguous()):
        out = newton_schulz(stack.bfloat16(), coefficients_of(name)).double()
        assert torch.linalg.matrix_norm(out, 2).max() < 1.3


def error(got, wanted):
    return ((got.double() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("shape", [(96, 288), (384, 96), (96, 96)])
def test_in_bfloat16_no_further_from_the_polynomial_than_torch(shape):
    """Condition 1e4: the distance to the exact iteration, and to the polar factor, stays within torch's."""
    from torch.optim._muon import _zeropower_via_newtonschulz as torchs

    x, triples = of_condition(*shape, 1e4), coefficients_of("jordan")
    exact = newton_schulz(x, triples)
    ours = newton_schulz(x.bfloat16(), triples)
    theirs = torch.stack([torchs(one.float(), triples[0], ns_steps=5, eps=1e-7) for one in x])
    factor = torch.stack([torch.from_numpy(oracle.polar_factor(one.numpy())) for one in x])
    assert error(ours, exact) < 1.05 * error(theirs, exact)
    assert error(ours, factor) < 1.01 * error(theirs, factor)


@pytest.mark.parametrize("shape", [(2, 9, 30), (2, 30, 9)])
@pytest.mark.parametrize("name", ["jordan", "polar_express", "lipschitz6"])
def test_whatever_rounding_makes_of_a_is_made_up_for(name, shape, monkeypatch):
    """Exact for any number in the place of a, so that in 16 bits the rounding of a costs nothing."""
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = newton_schulz(x, coefficients_of(name), scale=0.3)
    monkeypatch.setattr(polar, "_rounded", lambda a, dtype: 0.7 * a)
    assert error(newton_schulz(x, coefficients_of(name), scale=0.3), wanted) < 1e-12
    unscaled = lambda r, b, c, out, real=polar._quadratic: real(r, b / 0.7, c / 0.7, out)
    monkeypatch.setattr(polar, "_quadratic", unscaled)
    assert error(newton_schulz(x, coefficients_of(name), scale=0.3), wanted) > 0.1


def test_in_bfloat16_one_block_of_all_iterations_would_fail(monkeypatch):
    from equipoise.core.linalg import polar

    x, triples = of_condition(96, 288, 1e4), coefficients_of("jordan")
    exact = newton_schulz(x, triples)
    restarted = error(newton_schulz(x.bfloat16(), triples), exact)
    monkeypatch.setattr(polar, "blocks_of", lambda coefficients, *_: [tuple(coefficients)])
    assert error(newton_schulz(x.bfloat16(), triples), exact) > 4 * restarted


@pytest.mark.parametrize(
    ("given_set", "steps", "words"),
    [("jordam", None, "jordan"), ([], None, "at least one"), ([(1.0, 2.0)], None, "triples"), ("jordan", 0, "steps")],
)
def test_what_is_no_set_is_refused(given_set, steps, words):
    with pytest.raises(ArgumentError, match=words):
        coefficients_of(given_set, steps)


@pytest.mark.parametrize("iterations", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(6, 9), (6, 14), (20, 6)], ids=str)
def test_memory_that_is_given_away_changes_nothing_but_itself(shape, iterations):
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    triples = coefficients_of("cubic", iterations)
    wanted, before = newton_schulz(x, triples), x.clone()
    for one, got in zip(x.numpy(), wanted.numpy(), strict=True):
        assert abs(got - oracle.newton_schulz(one, triples)).max() < 1e-12
    assert torch.equal(newton_schulz(x.clone(), triples, overwrite=True), wanted)
    laid_out_across = x.mT.contiguous().mT
    assert torch.allclose(newton_schulz(laid_out_across, triples, overwrite=True), wanted, rtol=0, atol=1e-12)
    assert torch.equal(x, before)


def test_the_norm_divides_without_copies_of_the_whole_stack():
    """Torch would take a product of bfloat16 and float32 stacks in two float32 copies."""
    x = torch.randn(4, 64, 256, generator=torch.Generator().manual_seed(4)).bfloat16()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, profile_memory=True) as seen:
        newton_schulz(x, coefficients_of("jordan"))
    sizes = sorted(e.cpu_memory_usage for e in seen.events() if e.cpu_memory_usage > 0 and not e.cpu_children)
    assert sizes[-3:] == [2 * 4 * 64 * 64, 2 * x.numel(), 2 * x.numel()]
