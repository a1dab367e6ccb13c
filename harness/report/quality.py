"""From the records of a strategy's quality trial to its figures.

Knows records and `harness.quality`; how figures look is `quality_tables.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from harness.quality.lambada import LambadaSummary, summarise_lambada
from harness.quality.summary import QualitySummary, summarise
from harness.quality.tokens import joined
from harness.records.quality import Difference, Quality
from harness.records.record import Record


class RowQuality(Struct, frozen=True, kw_only=True):
    """One strategy beside the exact reference; `missing` says why a part is None."""

    method: str | None = None  # of the reference
    is_exact: bool = True  # the reference was there in full
    text: QualitySummary | None = None  # of the fixed text
    answers: QualitySummary | None = None  # of all answers together
    lambada: LambadaSummary | None = None
    compared: int = 0  # answers of which it is known where the reference would have left them
    same: int = 0  # of those, answers that the reference would have given token for token
    differences: dict[str, Difference] = field(default_factory=dict)  # by question
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def headline(self) -> QualitySummary | None:
        """The figures that stand in a table's row: of the text, else of the answers."""
        return self.text or self.answers


def quality_of(records: Sequence[Record]) -> RowQuality | None:
    """Of the first trial that scored something; None where none was made.

    Scoring is not timed and not repeated: a second trial would give the same.
    """
    found = next((one.quality for one in records if _is_scored(one.quality)), None)
    if found is None:
        found = next((one.quality for one in records if one.quality is not None), None)
    if found is None:
        return None
    known = [one for one in found.answers if one.difference_missing is None]
    return RowQuality(
        method=None if found.reference is None else found.reference.method,
        is_exact=found.reference is None or found.reference.form == "full",
        text=None if found.text is None else summarise(found.text),
        answers=summarise(joined(one.scored for one in found.answers)) if found.answers else None,
        lambada=None if found.lambada is None else summarise_lambada(found.lambada),
        compared=len(known),
        same=sum(one.difference is None for one in known),
        differences={one.id: one.difference for one in known if one.difference is not None},
        missing=dict(found.missing),
    )


def _is_scored(quality: Quality | None) -> bool:
    return quality is not None and bool(quality.text or quality.answers or quality.lambada)
