"""How large a KL divergence can be where of one distribution only the head is known.

Of p are known the likeliest tokens, and of all others together three numbers: their mass m, their
part H of the entropy, and that none has more than c. With a = -log q over the others, their part
of the divergence is sum(p a) - H, so the question is how small or large sum(p a) can be. For every
t > 0, by the log-sum inequality,

    sum(p a) >= (m log m - m log sum(q^t) + H) / t       (t = 1: as if p and q were proportional)
    sum(p a) <= (m log sum(q^-t) - m log m - H) / t

and it is at most what filling up the smallest q with c each gives. The best t is looked for on a
histogram of q; whichever it finds, the bounds hold. Knows numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from harness.quality.tokens import Floats

_BINS = 256
_FIRST_T = np.geomspace(1 / 64, 64, 49)
_THEN_T = np.geomspace(2 ** (-1 / 4), 2 ** (1 / 4), 21)  # times the best of the first
_Histogram: TypeAlias = tuple[Floats, Floats]
_ROUNDING = 1e-10  # more than the sums in float64 can be off


@dataclass(frozen=True, kw_only=True, slots=True)
class Others:
    """What is known of the tokens that were not kept."""

    mass: float
    entropy: float  # the sum of -p log p over them, in nats
    most: float  # that any of them has


def kl_bounds(known: float, others: Others, log_q: Floats) -> tuple[float, float]:
    """The least and the most that the whole divergence can be, in nats; inf, or NaN with a NaN.

    `known` is the part of the likeliest tokens, log_q [V - k] what the strategy gives the others.
    """
    if not math.isfinite(known):
        return known, known
    if others.mass <= 0:
        return max(0.0, known - _ROUNDING), max(0.0, known) + _ROUNDING
    is_whole = len(log_q) > 0 and log_q.min() > -np.inf
    finite = log_q if is_whole else log_q[log_q > -np.inf]
    if not len(finite):
        return math.inf, math.inf
    histogram = _histogram(finite)
    low = known + _least(others, finite, histogram) - _ROUNDING
    if not is_whole:
        return max(0.0, low), math.inf
    high = known + _most(others, finite, histogram) + _ROUNDING
    return max(0.0, low), max(0.0, high)


def _least(others: Others, log_q: Floats, histogram: _Histogram) -> float:
    """For all that is known, the others lie where q is: log_q is finite."""
    m, entropy = others.mass, others.entropy

    def at(t: Floats, log_sums: Floats) -> Floats:
        return (m * math.log(m) - m * log_sums + entropy) / t - entropy

    best = _best_t(lambda t, q, n: at(t, _log_sums(t, q, n)), histogram)
    tried = np.array([1.0, best])
    return float(at(tried, _log_sums(tried, log_q)).max())


def _most(others: Others, log_q: Floats, histogram: _Histogram) -> float:
    m, entropy = others.mass, others.entropy

    def at(t: Floats, log_sums: Floats) -> Floats:
        return (m * log_sums - m * math.log(m) - entropy) / t - entropy

    best = _best_t(lambda t, q, n: -at(t, _log_sums(-t, q, n)), histogram)
    tried = np.array([best])
    return min(float(at(tried, _log_sums(-tried, log_q))[0]), _filled(others, log_q) - entropy)


def _filled(others: Others, log_q: Floats) -> float:
    """The sum of p a where the smallest q have as much as any can have."""
    n = min(len(log_q), math.ceil(others.mass / others.most))
    p = np.full(n, others.most)
    p[-1] = max(0.0, others.mass - others.most * (n - 1))
    return -float(p @ np.sort(np.partition(log_q, n - 1)[:n]))


def _histogram(log_q: Floats) -> _Histogram:
    """Values, and how many of log_q are near each; numpy's own takes three times as long."""
    low, high = float(log_q.min()), float(log_q.max())
    width = (high - low) / _BINS or 1.0
    counts = np.bincount(np.minimum((log_q - low) / width, _BINS - 1).astype(np.intp))
    there = np.flatnonzero(counts)
    values = low + (there + 0.5) * width
    return values.astype(np.float64), counts[there].astype(np.float64)


def _best_t(bound: Callable[[Floats, Floats, Floats], Floats], histogram: _Histogram) -> float:
    """The t that makes `bound` of (t, values, how many of each) largest, near enough."""
    values, weights = histogram
    best = 1.0
    for around in (_FIRST_T, _THEN_T):
        t = best * around
        best = float(t[np.argmax(bound(t, values, weights))])
    return best


def _log_sums(t: Floats, values: Floats, weights: Floats | float = 1.0) -> Floats:
    """For each t [k] the logarithm of the sum of weights exp(t values): [k]."""
    exponents = t[:, None] * values
    high = exponents.max(axis=1)
    sums = (weights * np.exp(exponents - high[:, None])).sum(axis=1)
    logs: Floats = high + np.log(sums)
    return logs
