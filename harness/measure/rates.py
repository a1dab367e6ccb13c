"""Headline speeds: tokens over the median time. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from harness.records.latency import Prefill


def prefill_speed(prefill: Sequence[Prefill], batch: int) -> float | None:
    """Tokens per second of the longest prefill: batch × tokens over the median time."""
    longest = max((one.tokens for one in prefill), default=0)
    return _rate(batch * longest, [one.s for one in prefill if one.tokens == longest])


def decode_speed(decode_s: Sequence[Sequence[float]], batch: int) -> float | None:
    """Tokens per second of decoding: batch over the median time of a token, all passes pooled."""
    return _rate(batch, [s for one in decode_s for s in one])


def _rate(tokens: int, seconds: Sequence[float]) -> float | None:
    """Tokens over the median time; None without times, or where a clock stood still."""
    median = statistics.median(seconds) if seconds else 0.0
    return tokens / median if median > 0 else None
