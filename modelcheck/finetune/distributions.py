"""The three distributions that the gate needs, so that comparing two files of samples takes no scientific stack."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

TINY = 1e-300
MOST_TERMS = 100_000


def z(p: float) -> float:
    """The standard normal quantile of p, 0 < p < 1."""
    return NormalDist().inv_cdf(p)


def normal_cdf(x: float) -> float:
    """P(Z <= x) of a standard normal."""
    return NormalDist().cdf(x)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b) for a, b > 0 (DLMF 8.17.22, continued fraction)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    # The fraction converges fast on this side of the mean only.
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's method: numerator and denominator of the convergents kept as ratios of successive terms."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _nonzero(1 + term * d)
            c = _nonzero(1 + term / c)
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > TINY else TINY


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t with df > 0 degrees of freedom, which need not be whole."""
    # Near the centre the first form would subtract two numbers that are nearly alike, in the tail the second.
    centre = t * t < 1
    tail = 0.5 * (
        1 - beta_cdf(t * t / (df + t * t), 0.5, df / 2) if centre else beta_cdf(df / (df + t * t), df / 2, 0.5)
    )
    return tail if t < 0 else 1 - tail


@functools.lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The t for which `t_cdf(t, df)` is p, 0 < p < 1, by bisection in the lower tail, where no digit is lost."""
    if p > 0.5:
        return -t_quantile(1 - p, df)
    low, high = -1.0, 0.0
    while t_cdf(low, df) > p:
        low *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return middle
