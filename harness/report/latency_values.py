"""The types of a row's latency. A figure that was not measured is None. Units are in the names."""

from __future__ import annotations

from msgspec import Struct

from harness.stats import Estimate, Slope


class TokenTimes(Struct, frozen=True, kw_only=True):
    """Percentiles of each trial's decode steps, over trials; None without enough support."""

    n: int  # steps in all
    per_trial: int  # steps of the trial that has most
    p50_s: Estimate | None
    p90_s: Estimate | None
    p99_s: Estimate | None
    maximum_s: float  # of all steps


class AnswerTimes(Struct, frozen=True, kw_only=True):
    """The parts of an answer: medians over the answers of a trial, over trials."""

    n: int  # answers in all
    first_token_s: Estimate | None
    tokenize_s: Estimate | None
    prefill_s: Estimate | None
    sample_s: Estimate | None  # per draw
    decode_s: Estimate | None  # per step
    text_s: Estimate | None  # per answer
    end_to_end_s: Estimate | None


class DepthSpeed(Struct, frozen=True, kw_only=True):
    """Decode speed behind so many tokens of context, over trials."""

    tokens: int
    tok_per_s: Estimate


class DepthSweep(Struct, frozen=True, kw_only=True):
    """Decode speed against depth; the slope is of the time per token, per 1,000 tokens."""

    speeds: tuple[DepthSpeed, ...]
    slope: Slope | None  # None: one depth only


class RowLatency(Struct, frozen=True, kw_only=True):
    """What a strategy's speeds do not tell of its latency."""

    first_pass_s: Estimate | None = None  # end to end, like the next
    end_to_end_s: Estimate | None = None  # of a pass: its last prompt and all its steps
    answers: AnswerTimes | None = None
    depth: DepthSweep | None = None
