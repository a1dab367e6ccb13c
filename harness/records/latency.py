"""Latency in a record: prefill, first pass, end to end, depth sweep, the parts of an answer.

Raw samples, in the order in which they were taken. Knows neither how they are measured nor what is
made of them. Units are in the names: `_s` seconds.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

Seconds = Annotated[float, Meta(ge=0)]  # of a clock that never goes back


class Prefill(Struct, frozen=True, kw_only=True):
    """One timed prefill of `tokens` tokens in each row of the batch, taking `s` seconds."""

    tokens: int
    s: Seconds


class FirstPass(Struct, frozen=True, kw_only=True):
    """The very first pass over a loaded model, when caches, pages and kernels are still cold."""

    prefill: list[Prefill]
    decode_s: list[float]  # per step
    end_to_end_s: float | None = None  # as in `Latency.end_to_end_s`
    measured: bool = False  # also counted as a measured pass: the study asked for no warm-up
    after_gate: bool = False  # the gate had fed tokens before it, so that nothing was cold any more


class AtDepth(Struct, frozen=True, kw_only=True):
    """Decoding behind `tokens` tokens of context, once; the context itself is fed before."""

    tokens: int
    decode_s: list[float]  # per step


class Fed(Struct, frozen=True, kw_only=True):
    """Feeding the context of the depth workload from one depth to the next, once, in chunks."""

    from_tokens: int
    to_tokens: int
    s: float  # with what the harness does between the chunks


class Latency(Struct, frozen=True, kw_only=True):
    """What a trial took beside `load_s`, `prefill` and `decode_s`; `missing` says why not."""

    first_pass: FirstPass | None = None
    # Per measured pass: from handing over its last prompt to having the logits of its last step,
    # with what the harness does between the steps (it looks whether logits are numbers).
    end_to_end_s: list[float] = field(default_factory=list)
    depth: list[AtDepth] = field(default_factory=list)  # in the order of the visits
    fed: list[Fed] = field(default_factory=list)  # before them; empty in older records
    missing: dict[str, str] = field(default_factory=dict)


class AnswerLatency(Struct, frozen=True, kw_only=True):
    """The parts of one answer beside its `prefill_s` and `decode_s`.

    `tokenize_s` + `prefill_s` + `sample_s` + `text_s` + `decode_s` make up `end_to_end_s`, but for
    the loop's own few instructions.
    """

    tokenize_s: float  # from the prompt's text to its tokens
    sample_s: list[float]  # per draw, the one of a stop token included
    text_s: float  # in all: from tokens to text, and looking for stop strings
    # Tokenising, prefill and the first draw, measured as one; None where that drew a stop token.
    first_token_s: float | None
    end_to_end_s: float  # from handing over the prompt's text to having the whole answer's
