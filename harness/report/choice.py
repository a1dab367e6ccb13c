"""Which strategy to run: the fastest, the smallest, the nearest to the exact model, the most right.

The strategies are those of `ranking.py`, and the fastest and the smallest those that `recommend`
names without limits, so that a report and that command cannot say different things. Says which
others cannot be told apart from the winner: a lead that the noise could explain is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import structs

from harness.report.joining import Found, Part, joined, speaking
from harness.report.quality_cells import NO_DIFFERENCE
from harness.report.ranking import strategies_in
from harness.report.recommend import Option, Preference, Wishes, is_behind, recommend
from harness.report.values import Choice, ModelSummary, Wish

# Mean divergences that differ by less than this are alike: they are of some tokens of one text.
SAME_KL = 0.1


def choose(model: ModelSummary) -> tuple[Choice, ...]:
    """The winners among strategies that have the figure in question; ties go to the faster one."""
    found = strategies_in([Part(run="", model=model)])
    options = [joined(each) for each in found]
    labels = {
        option.name: speaking(each).row.label for option, each in zip(options, found, strict=True)
    }
    fit = [one for one in options if one.unfit is None]
    alike = _scored_alike(fit)
    chosen = (
        _preferred(options, "decode", "fastest"),
        _preferred(options, "memory", "smallest"),
        _nearest([one for one in fit if one.scored in alike]),
    )
    return (
        *(
            structs.replace(
                one, label=labels[one.label], tied=tuple(labels[name] for name in one.tied)
            )
            for one in chosen
            if one is not None
        ),
        *_best_answers(fit, found),
    )


def _preferred(options: Sequence[Option], prefer: Preference, wish: Wish) -> Choice | None:
    found = recommend(options, Wishes(prefer=prefer))
    if found.best is None:
        return None
    others = [one for one in (found.runner_up, *found.others) if one is not None]
    tied = [one.name for one in others if not is_behind(one, found.best, prefer)]
    return Choice(wish=wish, label=found.best.name, tied=tuple(tied))


def _scored_alike(options: Sequence[Option]) -> set[tuple[str | None, str | None]]:
    """On which tokens, and asked how: those of the text, which is the same for all.

    Else what most have been asked, of equally many the first.
    """
    kinds = Counter(one.scored for one in options if one.kl_mean is not None)
    on_text = {kind for kind in kinds if kind[1] is None}
    return on_text or {kind for kind, _ in kinds.most_common(1)}


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


def _best_answers(fit: Sequence[Option], found: Sequence[Sequence[Found]]) -> Iterator[Choice]:
    """Under whichever sampling and prompt it is; others that are as good, each strategy once."""
    speeds = {one.name: _decode(one) for one in fit}
    scored = [
        (one.option.right[0] / one.option.right[1], one)
        for each in found
        for one in each
        if one.option.right is not None and one.option.name in speeds
    ]
    most = max((share for share, _ in scored), default=0.0)
    if most == 0:
        return  # none is a choice for right answers
    alike: dict[str, str] = {}  # strategy -> the first of its rows
    for share, one in scored:
        if share == most:
            alike.setdefault(one.option.name, one.row.label)
    best, *others = sorted(alike, key=lambda name: speeds[name], reverse=True)
    yield Choice(wish="best answers", label=alike[best], tied=tuple(alike[name] for name in others))


def _decode(option: Option) -> float:
    return option.decode_tok_per_s or 0.0
