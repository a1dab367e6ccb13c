"""Which strategy to run: the fastest, the smallest, the one with the best answers.

Says which others cannot be told apart from the winner: a lead that the noise could explain is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.values import Choice, Row
from harness.stats import ratio

# Peaks of the same work differ by this much from one process to the next.
SAME_MEMORY = 0.01


def choose(rows: Sequence[Row]) -> tuple[Choice, ...]:
    """The winners among rows that have the figure in question; ties go to the faster one."""
    found = (_fastest(rows), _smallest(rows), _best_answers(rows))
    return tuple(choice for choice in found if choice is not None)


def _fastest(rows: Sequence[Row]) -> Choice | None:
    measured = sorted((row for row in rows if row.decode_tok_per_s), key=_speed, reverse=True)
    if not measured:
        return None
    best, others = measured[0], measured[1:]
    tied = [row for row in others if not _is_slower(row, best)]
    return Choice(wish="fastest", label=best.label, tied=_labels(tied))


def _smallest(rows: Sequence[Row]) -> Choice | None:
    sized = [(row.memory.total_peak_bytes, row) for row in rows]
    known = [(size, row) for size, row in sized if size is not None]
    if not known:
        return None
    least = min(size for size, _ in known)
    alike = [row for size, row in known if size <= least * (1 + SAME_MEMORY)]
    return _first(alike, "smallest")


def _best_answers(rows: Sequence[Row]) -> Choice | None:
    scored = [(row.score.right / row.score.of, row) for row in rows if row.score is not None]
    if not scored:
        return None
    most = max(share for share, _ in scored)
    if most == 0:
        return None  # none is a choice for right answers
    return _first([row for share, row in scored if share == most], "best answers")


def _first(alike: Sequence[Row], wish: str) -> Choice:
    """The fastest of rows that are equal in what was wished for."""
    best, *others = sorted(alike, key=_speed, reverse=True)
    return Choice(wish=wish, label=best.label, tied=_labels(others))


def _is_slower(row: Row, best: Row) -> bool:
    against = ratio(row.decode_trials, best.decode_trials)
    return against.high is not None and against.high < 1


def _speed(row: Row) -> float:
    return row.decode_tok_per_s.value if row.decode_tok_per_s is not None else 0.0


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row.label for row in rows)
