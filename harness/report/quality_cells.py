"""Cells of quality, as every table of a report shows them, and what each figure is.

Turns figures into texts; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import structs

from harness.quality.summary import Divergence, QualitySummary
from harness.report.format import count, listing, number, share
from harness.report.table import Cell, figure
from harness.report.values import ModelSummary, Row

NO_DIFFERENCE = 1e-9  # nats: the reference beside itself; below it there is rounding alone
RATHER_SMALL = 1e-3  # below it a number has too many zeros

SMALL_FORM = "only the small form of the reference was there"

AGREEMENT = (
    "share of tokens at which the strategy holds the same next token for the likeliest as the "
    "exact float32 model does"
)
MEAN_KL = (
    "Kullback-Leibler divergence of the strategy from the exact float32 model, mean over the "
    "tokens, in nats per token: 0 is no difference, and below 1e−9 there is rounding alone"
)
RIGHT = "answers that match the pattern of a right one, of the questions that have one"
SAME = "answers that the exact float32 model would have given, token for token"


class QualityColumn(NamedTuple):
    """A column of the result table."""

    title: str
    cell: Callable[[Row], Cell]
    what: str


def quality_columns(model: ModelSummary) -> list[QualityColumn]:
    """Columns of quality; none for a model that was neither scored nor asked anything.

    Of what the section on quality tells in full there is only as much as fits beside speed.
    """
    shown = []
    workloads = {outcome.workload for row in model.rows for outcome in row.outcomes}
    if is_scored(model):
        shown.append(QualityColumn("Agreement", agreement_alone, as_sentence(AGREEMENT)))
        shown.append(QualityColumn("Mean KL, nats", divergence, as_sentence(MEAN_KL)))
    if "answers" in workloads:
        shown.append(QualityColumn("Right answers", right, as_sentence(RIGHT)))
        if not model.by_exact:
            of = "Answers that are those of the reference strategy, token for token."
            shown.append(QualityColumn("Same as reference", same_as_strategy, of))
    return shown


def is_scored(model: ModelSummary) -> bool:
    """Whether any strategy of it was held against the exact reference."""
    return any(row.quality is not None and row.quality.headline is not None for row in model.rows)


def definitions(model: ModelSummary) -> tuple[str, ...]:
    """What the figures in the result table are, in a sentence each; none without quality."""
    if not is_scored(model):
        return ()
    on = scored_on(model)
    asked = any(row.score is not None for row in model.rows)
    return (
        f"Agreement: {AGREEMENT}; {on}.",
        f"Mean KL: {MEAN_KL}; {on}.",
        *([f"Right answers: {RIGHT}."] if asked else []),
    )


def scored_on(model: ModelSummary) -> str:
    """`over 1,024 tokens of the fixed text`: what the figures in the result table are of."""
    found: dict[str, set[int]] = {}
    for row in model.rows:
        if row.quality is not None and row.quality.headline is not None:
            part = "the fixed text" if row.quality.text is not None else "the answers"
            found.setdefault(part, set()).add(row.quality.headline.tokens)
    said = []
    for part, tokens in found.items():
        least, most = min(tokens), max(tokens)
        many = f"{least:,} to {most:,} tokens" if least < most else count(least, "token")
        said.append(f"{many} of {part}")
    return f"over {listing(said)}"


def as_sentence(words: str) -> str:
    """The words as a sentence."""
    return f"{words[0].upper()}{words[1:]}."


def agreement(row: Row) -> Cell:
    """The share with its interval."""
    found = None if row.quality is None else row.quality.headline
    return figure(None, why_unscored(row)) if found is None else agreement_of(found)


def agreement_alone(row: Row) -> Cell:
    """The share without its interval."""
    return structs.replace(agreement(row), tag=None)


def agreement_of(found: QualitySummary) -> Cell:
    """The same of some tokens."""
    low, high = found.agreement_low, found.agreement_high
    if found.agreement is None or low is None or high is None:
        return figure(None, "there are no tokens")
    return figure(share(found.agreement), tag=between(low, high))


def between(low: float, high: float) -> str:
    """The ends of an interval of a share, the sign once, on the line of its number."""
    return f"{share(low).removesuffix(' %')} to {share(high)}".replace(" %", "\u00a0%")


def divergence(row: Row) -> Cell:
    """The mean divergence; of the small form the least, with the most below it."""
    found = None if row.quality is None else row.quality.headline
    if found is None:
        return figure(None, why_unscored(row))
    return divergence_cell(found.kl_mean, why_no_mean(found))


def divergence_cell(value: Divergence | None, why: str) -> Cell:
    """A divergence: a number, or between two bounds, of which a least of nothing is not told."""
    if value is None:
        return figure(None, why)
    least, most = nats(value.value), None if value.most is None else nats(value.most)
    if least == most:
        return figure(least)
    if value.value >= NO_DIFFERENCE:
        return figure(f"≥ {least}", tag="at most: no bound" if most is None else f"at most {most}")
    return figure(None if most is None else f"≤ {most}", f"{SMALL_FORM}, which bounds nothing")


def divergence_text(row: Row) -> str:
    """The mean divergence for a sentence, with its unit: `≥ 5.0e−6 nats (at most 7.5e−6)`."""
    cell = divergence(row)
    return f"{cell.text} nats" + (f" ({cell.tag})" if cell.tag else "")


def why_no_mean(found: QualitySummary) -> str:
    """Why a mean over tokens is not there."""
    if found.not_finite:
        n = count(found.not_finite, "log-probability", "log-probabilities")
        return f"{n} of it {'is' if found.not_finite == 1 else 'are'} NaN or infinite"
    return "infinite: it rules out a token that the reference does not"


def why_unscored(row: Row, part: str | None = None) -> str:
    """Why a row has no figures of quality, or none of one part of it."""
    if row.quality is None:
        return row.missing.get("quality", "not scored")
    missing = row.quality.missing
    if part is not None:
        return missing.get(part, "the study does not ask for it")
    return next(iter(missing.values()), "nothing was scored")


def right(row: Row) -> Cell:
    """Right answers, of how many questions that have a pattern of a right one."""
    if row.score is None:
        return figure(None, row.missing.get("score"))
    return figure(f"{row.score.right} of {row.score.of}")


def same(row: Row) -> Cell:
    """Answers that are the exact reference's, token for token."""
    if row.agreement is not None:
        return figure(f"{row.agreement.same} of {row.agreement.of}")
    if row.quality is None:
        return figure(None, row.missing.get("same_answers"))
    missing = row.quality.missing
    why = missing.get("differences") or missing.get("answers")
    return figure(None, why or "none of its answers was held against the reference")


def same_as_strategy(row: Row) -> Cell:
    """Answers that are the reference strategy's, token for token."""
    if row.agreement is not None:
        return figure(f"{row.agreement.same} of {row.agreement.of}")
    if row.is_reference and any(o.workload == "answers" and o.ok for o in row.outcomes):
        return figure("reference")
    return figure(None, row.missing.get("score", "the reference has no answers to compare with"))


def nats(value: float, digits: int = 2) -> str:
    """A divergence in nats with some significant digits, small ones as `2.1e−5`."""
    if value < NO_DIFFERENCE:
        return "< 1e−9"
    return small(value, digits, below=0.01)


def small(value: float, digits: int = 2, *, below: float = RATHER_SMALL) -> str:
    """A number of at least 0, in powers of ten where it has too many zeros."""
    if value == 0 or value >= below:
        return number(value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e−{-int(exponent)}"


def chance(p: float | None) -> str:
    """A probability: in percent, or in powers of ten where that would be all zeros."""
    if p is None:
        return "not a number"
    return small(p) if 0 < p < RATHER_SMALL else f"{number(p * 100)}\u00a0%"
