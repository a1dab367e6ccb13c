"""Where samples lie and how far they scatter: median, MAD, quantiles that have enough support.

Knows floats only; what they measure, and what counts as one independent sample, the caller knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MEDIAN = 0.5
LEAST = 20  # values behind any other quantile


def median(values: Sequence[float]) -> float:
    """The median. Raises ValueError without values: there is no neutral answer."""
    return float(np.median(_samples(values)))


def mad(values: Sequence[float]) -> float | None:
    """Median absolute deviation from the median, unscaled; None below two values."""
    if len(values) < 2:
        return None
    samples = _samples(values)
    return float(np.median(np.abs(samples - np.median(samples))))


def quantile(values: Sequence[float], q: float) -> float | None:
    """The q-quantile, or None where fewer than `support(q)` values would have to speak for it."""
    if len(values) < support(q):
        return None
    return float(np.quantile(_samples(values), q))


def support(q: float) -> int:
    """How many values a quantile needs: one expected beyond it, so 100 for p99.

    Below that a quantile is only the largest (or smallest) value under another name. Away from the
    median it is never fewer than `LEAST`: p90 of ten values hangs on the two largest.
    """
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies between 0 and 1, both excluded, not at {q}")
    # Rounded first: 1 / (1 - 0.99) is 99.99999999999991 in floating point.
    needed = int(np.ceil(round(1 / min(q, 1 - q), 6)))
    return needed if q == MEDIAN else max(LEAST, needed)


def _samples(values: Sequence[float]) -> np.ndarray:
    if len(values) == 0:
        raise ValueError("statistics of no values")
    return np.asarray(values, dtype=np.float64)
