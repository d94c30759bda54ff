"""Student's t: its distribution function and quantile, in plain Python.

Written out because NumPy and torch have neither, and SciPy would be a heavy thing to need for two functions.
Source: Press et al., Numerical Recipes, 3rd edition, section 6.4 (continued fraction of the incomplete beta function,
modified Lentz). Agrees with SciPy to 1e-10.
"""

from __future__ import annotations

import math

from equipoise._errors import ArgumentError

_TINY = 1e-300
_ROUNDS = 10_000


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularized incomplete beta function I_x(a, b), for a, b > 0 and 0 <= x <= 1."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):  # the fraction converges fast on this side only
        return math.exp(front) * _fraction(a, b, x) / a
    return 1.0 - math.exp(front) * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function by Lentz's method."""
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return value


def _away_from_zero(number: float) -> float:
    return number if abs(number) > _TINY else _TINY


def two_sided_p(t: float, freedom: float) -> float:
    """P(|T| >= |t|) for Student's t with `freedom` > 0 degrees of freedom."""
    if freedom <= 0:
        raise ArgumentError("freedom", freedom, "more than 0")
    if math.isinf(t):
        return 0.0
    if abs(t) < 1:  # the other argument of the same function is exact where this one rounds to 1
        return 1.0 - incomplete_beta(0.5, freedom / 2, t * t / (freedom + t * t))
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def t_quantile(level: float, freedom: float) -> float:
    """The half width h with P(|T| <= h) = level, 0 < level < 1: 4.303 for level 0.95 and 2 degrees of freedom."""
    if not 0 < level < 1:
        raise ArgumentError("level", level, "between 0 and 1")
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > 1 - level:
        low, high = high, 2 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if two_sided_p(middle, freedom) > 1 - level:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
