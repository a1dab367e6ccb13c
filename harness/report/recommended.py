"""A recommendation in words and in a table: what to run, what it costs, what is not known.

Knows rankings; decides nothing. Sentences are for one line each where names are short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.report.asked import asked_share
from harness.report.costs import bounds_text
from harness.report.format import count, listing, number, share, size
from harness.report.nearest import nearest
from harness.report.ranking import Ranking
from harness.report.recommend import Option, Preference, Wishes, against, is_behind
from harness.report.retyped import loosened
from harness.report.table import Cell, Table, columns, figure, words

_FIRST = {"decode": "fastest decoding", "prefill": "fastest prefill", "memory": "least memory"}
_NAMED = 2  # of those that cannot be told apart from the best, in the sentence


def ranking_sentence(ranking: Ranking) -> str:
    """The answer in one sentence, with what is behind it."""
    best, prefer = ranking.found.best, ranking.wishes.prefer
    if best is None:
        return _none_sentence(ranking)
    text = f"run “{best.name}”: {', '.join(figures(best, prefer))}"
    others = [one for one in (ranking.found.runner_up, *ranking.found.others) if one is not None]
    tied = [one for one in others if not is_behind(one, best, prefer)]
    if tied:
        named = [_in_brief(one, best, prefer) for one in tied[:_NAMED]]
        more = len(tied) - _NAMED
        text += (
            f"; not told apart from it: {listing([*named, *([count(more, 'other')] * (more > 0))])}"
        )
    elif others:
        text += f"; behind it {_in_brief(others[0], best, prefer)}"
    elif len(ranking.options) > 1:
        alone = not any(one.is_measured for one in ranking.options if one is not best)
        text += f"; no other {'was measured' if alone else 'qualifies'}"
    return f"{text}."


def figures(option: Option, prefer: Preference = "decode") -> list[str]:
    """What is known of an option, the most important first."""
    found = []
    speed = option.prefill_tok_per_s if prefer == "prefill" else option.decode_tok_per_s
    if speed is not None:
        what = " of prefill" if prefer == "prefill" else ""
        disturbed = " (disturbed in every trial)" if option.is_disturbed else ""
        found.append(f"{number(speed)} tok/s{what}{disturbed}")
    if option.ram_bytes is not None:
        found.append(size(option.ram_bytes) + ("" if option.vram_bytes == 0 else " of RAM"))
    if option.vram_bytes:
        found.append(f"{size(option.vram_bytes)} of VRAM")
    if option.agreement is not None:
        found.append(f"{share(option.agreement)} of tokens as under the exact model")
    if option.right is not None:
        right, of = option.right
        found.append(f"{right} of {count(of, 'answer')} right")
    return found


def limits_text(wishes: Wishes) -> str:
    """What was asked for."""
    limits = []
    if wishes.vram_bytes is not None:
        most = f"at most {size(wishes.vram_bytes)} of" if wishes.vram_bytes else "no"
        limits.append(f"{most} VRAM")
    if wishes.ram_bytes is not None:
        limits.append(f"at most {size(wishes.ram_bytes)} of RAM")
    if wishes.min_agreement is not None:
        limits.append(f"at least {asked_share(wishes.min_agreement)} agreement")
    return f"{', '.join(limits) or 'no limits'}; {_FIRST[wishes.prefer]} first"


def table(ranking: Ranking) -> Table | None:
    """Every strategy that qualifies, best first, and the reference; None where there is neither."""
    found = ranking.found
    shown = [one for one in (found.best, found.runner_up, *found.others) if one is not None]
    roles = {one.name: role for one, role in zip(shown, ("best", "next"), strict=False)}
    reference = ranking.reference
    if reference is not None and reference not in shown and reference.is_measured:
        shown.append(reference)
        roles[reference.name] = "no choice"
    if not shown:
        return None
    figures_of: list[tuple[str, Callable[[Option], Cell]]] = [
        ("Decode\ntok/s", lambda one: _number(one, one.decode_tok_per_s, "decode_tok_per_s")),
        ("Prefill\ntok/s", lambda one: _number(one, one.prefill_tok_per_s, "prefill_tok_per_s")),
        ("RAM", lambda one: _size(one, one.ram_bytes, "ram_bytes")),
    ]
    if any(one.vram_bytes != 0 for one in shown):
        figures_of.append(("VRAM", lambda one: _size(one, one.vram_bytes, "vram_bytes")))
    figures_of += [("Agrees", _agreement), ("KL", _kl), ("Right", _right)]
    titles = [title for title, _ in figures_of]
    return Table(
        caption=f"{ranking.model}: {limits_text(ranking.wishes)}",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(
            (words(_with_roles(one, roles.get(one.name))), *(cell(one) for _, cell in figures_of))
            for one in shown
        ),
    )


def unmeasured(ranking: Ranking) -> Iterator[tuple[str, str]]:
    """(heading, text) of all that is no choice, or of which something is not known."""
    found = ranking.found
    refused = [(one, why) for one, why in found.refused if one.unfit is None]
    unfit = [(one, why) for one, why in found.refused if one.unfit is not None]
    fit = [one for one in (found.best, found.runner_up, *found.others) if one is not None]
    yield from _by_reason("Not under the limits", refused)
    yield from _by_reason("No choice", unfit)
    yield from _by_reason("Not known", found.unknown)
    unscored = [
        (one, one.why("agreement") or "not recorded") for one in fit if one.agreement is None
    ]
    yield from _by_reason("Without quality", unscored, every=len(fit))
    careful = [
        (one, text) for one in fit for text in (*one.cautions, *_unsure(one, ranking.wishes))
    ]
    yield from _by_reason("Careful", careful)


def _unsure(option: Option, wishes: Wishes) -> Iterator[str]:
    """That the limit on agreement lies within the interval of what was measured."""
    low, high, least = option.agreement_low, option.agreement_high, wishes.min_agreement
    if least is not None and low is not None and high is not None and low < least:
        yield (
            f"its tokens are too few to tell its agreement closer than {share(low)} to "
            f"{share(high)}, and {asked_share(least)} lies between"
        )


def misses(ranking: Ranking) -> Iterator[str]:
    """Which limit to loosen, and by how much, where nothing qualifies."""
    if ranking.found.best is not None:
        return
    for miss in nearest(ranking.options, ranking.wishes):
        has = []
        for name, value in miss.needs:
            limit = getattr(ranking.wishes, name)
            if name == "min_agreement":
                by = f"{number((limit - value) * 100)} points less than is asked"
                has.append(f"agrees on {share(value)} of tokens, {by}")
            else:
                what = "VRAM" if name == "vram_bytes" else "RAM"
                has.append(f"takes {size(value)} of {what}, {size(value - limit)} too much")
        yield f"“{miss.option.name}” {listing(has)}. It qualifies with {' '.join(loosened(miss))}."


def _none_sentence(ranking: Ranking) -> str:
    near = nearest(ranking.options, ranking.wishes)
    if near:
        what = f"“{near[0].option.name}”, with {' '.join(loosened(near[0]))}"
        return f"nothing qualifies; nearest is {what}."
    # What is wrong with those that were measured comes before why others were not.
    found = sorted(
        (*ranking.found.refused, *ranking.found.unknown), key=lambda one: not one[0].is_measured
    )
    text = "nothing to recommend: "
    if not ranking.is_measured:
        scored = any(one.agreement is not None for one in ranking.options)
        what = "speed" if scored else "strategy"
        text = f"nothing to recommend, as no {what} was measured: "
        found = [(one, one.unfit or one.why("decode_tok_per_s") or why) for one, why in found]
    return ended(text + _reasons(found))


def _reasons(found: Sequence[tuple[Option, str]]) -> str:
    """Why each is no choice: without names where all have one reason, else the first ones."""
    by_reason = _names_by_reason(found)
    if len(by_reason) == 1:
        return next(iter(by_reason))
    said = [f"{listing(names)}: {why}" for why, names in list(by_reason.items())[:_NAMED]]
    more = sum(len(names) for names in list(by_reason.values())[_NAMED:])
    return "; ".join([*said, *([f"{count(more, 'other')} for other reasons"] * (more > 0))])


def ended(text: str) -> str:
    """A text as a sentence: with one full stop, whether it has one or not."""
    return f"{text.rstrip('.')}."


def _in_brief(option: Option, best: Option, prefer: Preference) -> str:
    found = against(option, best, prefer)
    if found is None:
        return f"“{option.name}”"
    of = {"decode": "the speed", "prefill": "the prefill speed", "memory": "the memory"}[prefer]
    return f"“{option.name}” ({number(found.value)} × {of})"


def _with_roles(option: Option, role: str | None) -> str:
    roles = [role] if role else []
    if option.is_reference:
        roles.append("reference")
    return f"{option.name} ({', '.join(roles)})" if roles else option.name


def _by_reason(
    heading: str, found: Sequence[tuple[Option, str]], every: int | None = None
) -> Iterator[tuple[str, str]]:
    """With all names, but where a reason is that of `every` one that qualifies."""
    for why, names in _names_by_reason(found).items():
        who = "every one of these" if 1 < len(names) == every else listing(names)
        yield heading, ended(f"{who}: {why}")


def _names_by_reason(found: Sequence[tuple[Option, str]]) -> dict[str, list[str]]:
    by_reason: dict[str, list[str]] = {}
    for one, why in found:
        by_reason.setdefault(why, []).append(f"“{one.name}”")
    return by_reason


def _number(option: Option, value: float | None, name: str) -> Cell:
    return figure(None if value is None else number(value), option.why(name))


def _size(option: Option, value: int | None, name: str) -> Cell:
    return figure(None if value is None else size(value), option.why(name))


def _agreement(option: Option) -> Cell:
    return figure(
        None if option.agreement is None else share(option.agreement), option.why("agreement")
    )


def _kl(option: Option) -> Cell:
    if option.kl_mean is None:
        return figure(None, option.why("kl_mean"))
    return figure(bounds_text(option).replace(" to ", " to\n"))


def _right(option: Option) -> Cell:
    if option.right is None:
        return figure(None, option.why("right"))
    return figure(f"{option.right[0]} of {option.right[1]}")
