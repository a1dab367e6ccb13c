"""Which strategy to run: the fastest, the smallest, the one with the best answers.

The fastest and the smallest are those that `recommend` names without limits, so that a report and
that command cannot say different things. Says which others cannot be told apart from the winner: a
lead that the noise could explain is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.options import option_of
from harness.report.recommend import Option, Preference, Wishes, is_behind, recommend
from harness.report.values import Choice, Row


def choose(rows: Sequence[Row]) -> tuple[Choice, ...]:
    """The winners among rows that have the figure in question; ties go to the faster one."""
    options = [option_of(row) for row in rows]
    found = (
        _preferred(options, "decode", "fastest"),
        _preferred(options, "memory", "smallest"),
        _best_answers([one for one in options if one.unfit is None]),
    )
    return tuple(choice for choice in found if choice is not None)


def _preferred(options: Sequence[Option], prefer: Preference, wish: str) -> Choice | None:
    found = recommend(options, Wishes(prefer=prefer))
    if found.best is None:
        return None
    others = [one for one in (found.runner_up, *found.others) if one is not None]
    tied = [one.name for one in others if not is_behind(one, found.best, prefer)]
    return Choice(wish=wish, label=found.best.name, tied=tuple(tied))


def _best_answers(options: Sequence[Option]) -> Choice | None:
    scored = [(one.right[0] / one.right[1], one) for one in options if one.right is not None]
    most = max((share for share, _ in scored), default=0.0)
    if most == 0:
        return None  # none is a choice for right answers
    alike = [one for share, one in scored if share == most]
    best, *others = sorted(alike, key=lambda one: one.decode_tok_per_s or 0.0, reverse=True)
    return Choice(wish="best answers", label=best.name, tied=tuple(one.name for one in others))
