"""The part of a record that says how a strategy's log-probabilities compare with the reference's.

Raw samples, one per scored token: means, quantiles and intervals are derived by
`harness.quality.summary`. Log-probabilities are natural, of float64 arithmetic on float32 rows; KL
is KL(reference || strategy) in nats. A figure that was not measured is None, with a reason in
`missing`, never 0.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

# In `Quality.missing`, of a cell that had not answered when it was scored.
NO_ANSWERS = "there are none of this cell"


class QualityReference(Struct, frozen=True, kw_only=True):
    """What a strategy was compared with."""

    form: Literal["full", "small"]  # "small": the top 64 and sums, so that KL has a bound
    weights_sha256: str | None
    method: str  # how it was computed, in words
    s: float | None = None  # what making it took, where that was for this trial


class ScoredTokens(Struct, frozen=True, kw_only=True):
    """One value per token of a text, each given all tokens before it."""

    kl: list[float | None]  # None: infinite, or no number; of the small form, the least
    kl_most: list[float | None] = field(default_factory=list)  # of the small form
    agree: list[int]  # 1: the same likeliest token as the reference, lowest id on ties
    log_p: list[float | None]  # of the token that came, under the strategy
    reference_log_p: list[float]  # likewise, under the reference
    not_finite: int = 0  # NaN and infinite log-probabilities, all rows together
    # Rows that say nothing: with a NaN or +inf, or of -inf alone. 0 in records older than it.
    not_a_number: int = 0


class Difference(Struct, frozen=True, kw_only=True):
    """The first token of an answer that the reference would have drawn otherwise."""

    index: int  # of the answer's draws; one behind the last token: the stop token
    token: int  # as drawn
    reference_token: int
    # Probabilities before penalties and truncation: of either token under either model.
    p: float | None
    reference_p: float
    p_of_reference_token: float | None
    reference_p_of_reference_token: float
    # As text: None in records that are older than the question, and for a token that has none.
    text: str | None = None
    reference_text: str | None = None
    same_characters: int | None = None  # of the answer's text, before this token


class AnswerQuality(Struct, frozen=True, kw_only=True):
    """One answer, scored along its own tokens."""

    id: str
    scored: ScoredTokens
    difference: Difference | None = None  # None: the reference would have answered the same
    difference_missing: str | None = None  # why that is not known


class Lambada(Struct, frozen=True, kw_only=True):
    """Last words of passages, one value per document."""

    sha256: str  # of the file
    log_p: list[float | None]  # of all tokens of the word together; None: not finite
    right: list[int]  # 1: each token of the word was the likeliest
    not_a_number: int = 0  # rows of last words, as in `ScoredTokens`


class Quality(Struct, frozen=True, kw_only=True):
    """Of one cell; `missing` says why a part is None or empty."""

    reference: QualityReference | None = None
    text: ScoredTokens | None = None
    answers: list[AnswerQuality] = field(default_factory=list)
    lambada: Lambada | None = None  # None too where the study does not ask for it
    missing: dict[str, str] = field(default_factory=dict)


class Gate(Struct, frozen=True, kw_only=True):
    """What a strategy's first tokens showed before anything else was measured."""

    tokens: int
    why: str | None = None  # why it computes another function; None: it passed
    figures: dict[str, float] = field(default_factory=dict)  # what that was judged from
    missing: str | None = None  # why nothing was compared
