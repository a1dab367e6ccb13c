"""The part of a record that says how a strategy's log-probabilities compare with the reference's.

Raw samples, one per scored token: means, quantiles and intervals are derived by
`harness.quality.summary`. Log-probabilities are natural, of float64 arithmetic on float32 rows; KL
is KL(reference || strategy) in nats. A figure that was not measured is None, with a reason in
`missing`, never 0. What no trial can have found is refused where a record is read: a value beyond
its range by its type, and lengths that do not fit by `unfit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from harness.records.latency import Seconds

# In `Quality.missing`, of a cell that had not answered when it was scored.
NO_ANSWERS = "there are none of this cell"

_MOST = 1e100  # nats; no sum of float32 numbers comes near
_Count = Annotated[int, Meta(ge=0)]
_Bit = Annotated[int, Meta(ge=0, le=1)]
_Figure = Annotated[float, Meta(ge=0)]
_Nats = Annotated[float, Meta(ge=0, le=_MOST)]
# Above 0 and 1 by rounding, and by a small form whose sum may be a thousandth off: what was found
# is never refused.
_LogP = Annotated[float, Meta(ge=-_MOST, le=0.01)]
_Probability = Annotated[float, Meta(ge=0, le=1.01)]


class QualityReference(Struct, frozen=True, kw_only=True):
    """What a strategy was compared with."""

    form: Literal["full", "small"]  # "small": the top 64 and sums, so that KL has a bound
    weights_sha256: str | None
    method: str  # how it was computed, in words
    s: Seconds | None = None  # what making it took, where that was for this trial


class ScoredTokens(Struct, frozen=True, kw_only=True):
    """One value per token of a text, each given all tokens before it."""

    kl: list[_Nats | None]  # None: infinite, or no number; of the small form, the least
    kl_most: list[_Nats | None] = field(default_factory=list)  # of the small form
    agree: list[_Bit]  # 1: the same likeliest token as the reference, lowest id on ties
    log_p: list[_LogP | None]  # of the token that came, under the strategy
    reference_log_p: list[_LogP]  # likewise, under the reference
    not_finite: _Count = 0  # NaN and infinite log-probabilities, all rows together
    # Rows that say nothing: with a NaN or +inf, or of -inf alone. 0 in records older than it.
    not_a_number: _Count = 0


class Difference(Struct, frozen=True, kw_only=True):
    """The first token of an answer that the reference would have drawn otherwise."""

    index: _Count  # of the answer's draws; one behind the last token: the stop token
    token: int  # as drawn
    reference_token: int
    # Probabilities before penalties and truncation: of either token under either model.
    p: _Probability | None
    reference_p: _Probability
    p_of_reference_token: _Probability | None
    reference_p_of_reference_token: _Probability
    # As text: None in records that are older than the question, and for a token that has none.
    text: str | None = None
    reference_text: str | None = None
    same_characters: _Count | None = None  # of the answer's text, before this token


class AnswerQuality(Struct, frozen=True, kw_only=True):
    """One answer, scored along its own tokens."""

    id: str
    scored: ScoredTokens
    difference: Difference | None = None  # None: the reference would have answered the same
    difference_missing: str | None = None  # why that is not known


class Lambada(Struct, frozen=True, kw_only=True):
    """Last words of passages, one value per document."""

    sha256: str  # of the file
    log_p: list[_LogP | None]  # of all tokens of the word together; None: not finite
    right: list[_Bit]  # 1: each token of the word was the likeliest
    not_a_number: _Count = 0  # rows of last words, as in `ScoredTokens`


class Quality(Struct, frozen=True, kw_only=True):
    """Of one cell; `missing` says why a part is None or empty."""

    reference: QualityReference | None = None
    text: ScoredTokens | None = None
    answers: list[AnswerQuality] = field(default_factory=list)
    lambada: Lambada | None = None  # None too where the study does not ask for it
    missing: dict[str, str] = field(default_factory=dict)


class Gate(Struct, frozen=True, kw_only=True):
    """What a strategy's first tokens showed before anything else was measured."""

    tokens: _Count
    why: str | None = None  # why it computes another function; None: it passed
    figures: dict[str, _Figure] = field(default_factory=dict)  # what that was judged from
    missing: str | None = None  # why nothing was compared


def unfit(quality: Quality) -> str | None:
    """How lists that have a value per token, or per document, are not as long as each other."""
    return next(_unfit(quality), None)


def _unfit(quality: Quality) -> Iterator[str]:
    scored = [(f"answer '{one.id}'", one.scored) for one in quality.answers]
    if quality.text is not None:
        scored.append(("text", quality.text))
    for name, one in scored:
        n = len(one.agree)
        lengths = {len(one.kl), len(one.kl_most or one.kl), len(one.log_p), n}
        if lengths != {len(one.reference_log_p)} or one.not_a_number > n:
            yield f"{name} of its quality has not as many values in each list"
    for answer in quality.answers:
        if answer.difference is not None and answer.difference.index >= len(answer.scored.agree):
            yield f"answer '{answer.id}' of its quality differs behind its end"
    last = quality.lambada
    if last is not None and len(last.log_p) != len(last.right):
        yield "lambada of its quality has not as many values in each list"
