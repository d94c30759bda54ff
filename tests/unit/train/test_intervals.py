"""Statistics against SciPy, tables and simulated truth."""

import math

import pytest
import torch

from equipoise._errors import ArgumentError
from equipoise.train import interval, paired_difference
from equipoise.train.student_t import incomplete_beta, t_quantile, two_sided_p

TABLE = {1: 12.7062047, 2: 4.3026527, 4: 2.7764451, 9: 2.2621572, 30: 2.0422725, 1000: 1.9623391}


@pytest.mark.parametrize(("freedom", "expected"), TABLE.items())
def test_quantiles_of_the_printed_table(freedom, expected):
    assert t_quantile(0.95, freedom) == pytest.approx(expected, rel=1e-7)


def test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    special = pytest.importorskip("scipy.special")
    for freedom in (0.5, 1, 2, 3, 7, 29, 400):
        for t in (0.0, 0.001, 0.1, 0.9, 2.5, 8.0, 60.0):
            assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9, abs=1e-300)
        for level in (0.1, 0.5, 0.9, 0.99, 0.9999):
            assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-9)
    for a, b, x in ((0.3, 4, 0.2), (20, 0.5, 0.97), (5, 5, 0.5), (100, 3, 0.999)):
        assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-11)


@pytest.mark.parametrize("t", [1e-8, 1e-3, 0.5, 1.0, 30.0])
def test_one_degree_of_freedom_is_cauchy(t):
    """Exact, also for small t, where SciPy's survival function is not."""
    assert 1 - two_sided_p(t, 1) == pytest.approx(2 / math.pi * math.atan(t), rel=1e-7)


def test_paired_test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    a, b = [2.9, 2.85, 2.95, 3.0], [2.5, 2.44, 2.61, 2.4]
    found, theirs = paired_difference(a, b), stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)
    assert found.n == 4
    assert paired_difference(b, a).mean == -found.mean


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = torch.randn(4000, 3, dtype=torch.float64).tolist()
    found = [interval([v + 7 for v in values]) for values in draws]
    covered = sum(f.low <= 7 <= f.high for f in found) / len(found)
    assert covered == pytest.approx(0.95, abs=0.012)


def test_pairing_takes_the_seeds_noise_out():
    seeds, effect = torch.randn(5).tolist(), 0.1
    a, b = [s + effect + 0.001 * i for i, s in enumerate(seeds)], seeds
    assert paired_difference(a, b).p_value < 1e-5
    assert interval(a).high - interval(a).low > 10 * effect


def test_edges():
    assert interval([3.0]).low is None
    assert paired_difference([1.0], [2.0]).p_value is None
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p_value == 1.0
    assert paired_difference([2.0, 3.0], [1.0, 2.0]).p_value == 0.0
    assert two_sided_p(math.inf, 3) == 0.0
    assert (incomplete_beta(1, 2, 0), incomplete_beta(1, 2, 1)) == (0.0, 1.0)
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ArgumentError, match="at least one, all finite"):
            interval(bad)
    with pytest.raises(ArgumentError, match="2 and 1"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ArgumentError, match="freedom"):
        two_sided_p(1.0, 0)
    with pytest.raises(ArgumentError, match="level"):
        t_quantile(1.0, 3)
