"""From the records of a strategy's quality trial to its figures.

Knows records and `harness.quality`; how figures look is `quality_cells.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from harness.quality.lambada import LambadaSummary, summarise_lambada
from harness.quality.summary import QualitySummary, summarise
from harness.quality.tokens import joined
from harness.records.quality import Difference, Gate, Quality
from harness.records.record import Record


class RowQuality(Struct, frozen=True, kw_only=True):
    """One strategy beside the exact reference; `missing` says why a part is None."""

    method: str | None = None  # of the reference
    weights_sha256: str | None = None  # of what it was computed from
    made_s: float | None = None  # what computing it took, where that was for this trial
    is_exact: bool = True  # the reference was there in full
    text: QualitySummary | None = None  # of the fixed text
    answers: QualitySummary | None = None  # of all answers together
    lambada: LambadaSummary | None = None
    # By question, where it is known, at which token the reference would have left the answer;
    # None: it would have given the same, token for token.
    answered: dict[str, Difference | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def headline(self) -> QualitySummary | None:
        """The figures that stand in a table's row: of the text, else of the answers."""
        return self.text or self.answers


def quality_of(records: Sequence[Record]) -> RowQuality | None:
    """Of the first trial that scored something; None where none was made.

    Scoring is not timed and not repeated: a second trial would give the same.
    """
    found = next((one.quality for one in records if is_scored(one.quality)), None)
    if found is None:
        found = next((one.quality for one in records if one.quality is not None), None)
    if found is None:
        return None
    reference = found.reference
    missing = dict(found.missing)
    for one in found.answers:
        if one.difference_missing is not None:
            missing.setdefault("differences", one.difference_missing)
    return RowQuality(
        method=None if reference is None else reference.method,
        weights_sha256=None if reference is None else reference.weights_sha256,
        made_s=None if reference is None else reference.s,
        is_exact=reference is None or reference.form == "full",
        text=None if found.text is None else summarise(found.text),
        answers=summarise(joined(one.scored for one in found.answers)) if found.answers else None,
        lambada=None if found.lambada is None else summarise_lambada(found.lambada),
        answered={
            one.id: one.difference for one in found.answers if one.difference_missing is None
        },
        missing=missing,
    )


def gate_of(records: Sequence[Record]) -> Gate | None:
    """What the first tokens of a strategy showed: failed before passed before not compared."""
    gates = [one.gate for one in records if one.gate is not None]
    return min(gates, key=lambda one: (one.why is None, one.missing is not None), default=None)


def is_scored(quality: Quality | None) -> bool:
    """Whether any part of it was scored."""
    return quality is not None and bool(quality.text or quality.answers or quality.lambada)
