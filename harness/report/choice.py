"""Which strategy to run: the fastest, the smallest, the nearest to the exact model, the most right.

The fastest and the smallest are those that `recommend` names without limits, so that a report and
that command cannot say different things. Says which others cannot be told apart from the winner: a
lead that the noise could explain is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.options import option_of
from harness.report.quality_cells import NO_DIFFERENCE
from harness.report.recommend import Option, Preference, Wishes, is_behind, recommend
from harness.report.values import Choice, Row, Wish

# Mean divergences that differ by less than this are alike: they are of some tokens of one text.
SAME_KL = 0.1


def choose(rows: Sequence[Row]) -> tuple[Choice, ...]:
    """The winners among rows that have the figure in question; ties go to the faster one."""
    options = [option_of(row) for row in rows]
    fit = [one for one in options if one.unfit is None]
    # KL of a text that is the same for all is not compared with that of a strategy's own answers.
    on_text = {row.label for row in rows if row.quality is not None and row.quality.text}
    found = (
        _preferred(options, "decode", "fastest"),
        _preferred(options, "memory", "smallest"),
        _nearest([one for one in fit if not on_text or one.name in on_text]),
        _best_answers(fit),
    )
    return tuple(choice for choice in found if choice is not None)


def _preferred(options: Sequence[Option], prefer: Preference, wish: Wish) -> Choice | None:
    found = recommend(options, Wishes(prefer=prefer))
    if found.best is None:
        return None
    others = [one for one in (found.runner_up, *found.others) if one is not None]
    tied = [one.name for one in others if not is_behind(one, found.best, prefer)]
    return Choice(wish=wish, label=found.best.name, tied=tuple(tied))


def _nearest(options: Sequence[Option]) -> Choice | None:
    """The one that is nearest to the exact model whatever lies within the bounds of its KL.

    Of those that are as near for certain, the fastest. Tied is all that may be as near.
    """
    scored = [(one, one.kl_mean, one.kl_most) for one in options if one.kl_mean is not None]
    bounded = [(one, most) for one, _, most in scored if most is not None]
    if not bounded:
        return None
    as_near = max(min(most for _, most in bounded) * (1 + SAME_KL), NO_DIFFERENCE)
    best = max((one for one, most in bounded if most <= as_near), key=_decode)
    tied = [one for one, least, _ in scored if one is not best and least <= as_near]
    return Choice(wish="nearest", label=best.name, tied=tuple(one.name for one in tied))


def _best_answers(options: Sequence[Option]) -> Choice | None:
    scored = [(one.right[0] / one.right[1], one) for one in options if one.right is not None]
    most = max((share for share, _ in scored), default=0.0)
    if most == 0:
        return None  # none is a choice for right answers
    alike = [one for share, one in scored if share == most]
    best, *others = sorted(alike, key=_decode, reverse=True)
    return Choice(wish="best answers", label=best.name, tied=tuple(one.name for one in others))


def _decode(option: Option) -> float:
    return option.decode_tok_per_s or 0.0
