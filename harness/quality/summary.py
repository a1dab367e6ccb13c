"""What the raw samples of scored tokens come to: divergence, agreement, perplexity.

A figure is None where it has no samples, or where one of them has no number: a mean that leaves out
the tokens at which a strategy gave NaN would praise it. The agreement counts those as wrong, so it
is always there, and `not_finite` says that there were some. Means of what is infinite are None too.

Tokens follow each other and are not independent, so the interval of the agreement is narrower than
one over texts would be. It says how well so many tokens tell the share, not how another text goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from harness.quality.tokens import Floats
from harness.records.quality import ScoredTokens
from harness.stats import proportion, support

P99 = 0.99
P99_TOKENS = support(P99)  # fewer have no p99


class Divergence(Struct, frozen=True, kw_only=True):
    """A figure of KL in nats: between two bounds where only the small form was there."""

    value: float  # of the small form, the least that it can be
    most: float | None  # None: nothing bounds it; equal to the value with the full form


class QualitySummary(Struct, frozen=True, kw_only=True):
    """Figures of n tokens; `kl_p99` needs P99_TOKENS of them.

    probability_rms: root mean square of how the probability of the token that came has changed,
        from 0 to 1.
    perplexity_ratio: the strategy's perplexity in units of the reference's; 1 is no change.
    """

    tokens: int
    is_exact: bool  # the full form was there, so that each divergence is a number, not a range
    kl_mean: Divergence | None
    kl_median: Divergence | None
    kl_p99: Divergence | None
    agreement: float | None
    agreement_low: float | None  # Wilson's interval
    agreement_high: float | None
    perplexity: float | None
    reference_perplexity: float | None
    perplexity_ratio: float | None
    probability_rms: float | None
    not_finite: int


def summarise(scored: ScoredTokens) -> QualitySummary:
    """All figures of some tokens; every one None where there are none."""
    n = len(scored.agree)
    low, high = proportion(sum(scored.agree), n) if n else (None, None)
    log_p = _numbers(scored.log_p)
    reference_log_p = np.asarray(scored.reference_log_p, dtype=np.float64)  # finite by its type
    return QualitySummary(
        tokens=n,
        is_exact=not scored.kl_most,
        kl_mean=_divergence(scored, np.mean),
        kl_median=_divergence(scored, np.median),
        kl_p99=_divergence(scored, lambda kl: np.quantile(kl, P99)) if n >= P99_TOKENS else None,
        agreement=sum(scored.agree) / n if n else None,
        agreement_low=low,
        agreement_high=high,
        perplexity=None if log_p is None else exp(-log_p.mean()),
        reference_perplexity=exp(-reference_log_p.mean()) if n else None,
        perplexity_ratio=None if log_p is None else exp((reference_log_p - log_p).mean()),
        probability_rms=None if log_p is None else _rms(np.exp(log_p) - np.exp(reference_log_p)),
        not_finite=scored.not_finite,
    )


def exp(value: float) -> float | None:
    """e to the value, None beyond what a float holds."""
    try:
        return math.exp(value)
    except OverflowError:
        return None


def _divergence(scored: ScoredTokens, figure: Callable[[Floats], Any]) -> Divergence | None:
    """A figure that grows with each of its samples, so that their bounds are its bounds."""
    least = _numbers(scored.kl)
    if least is None:
        return None
    most = _numbers(scored.kl_most) if scored.kl_most else least
    return Divergence(
        value=float(figure(least)), most=None if most is None else float(figure(most))
    )


def _numbers(samples: Sequence[float | None]) -> Floats | None:
    """The samples, where there are some and each is a number."""
    if not samples or any(one is None for one in samples):
        return None
    return np.asarray(samples, dtype=np.float64)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))
