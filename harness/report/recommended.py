"""A recommendation in words and in a table: what to run, what it costs, what is not known.

Knows rankings; decides nothing. Sentences are for one line each where names are short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from harness.report.format import count, listing, number, share, size
from harness.report.nearest import Miss, nearest
from harness.report.options import Ranking
from harness.report.recommend import (
    SAME_MEMORY,
    Option,
    Preference,
    Wishes,
    against,
    is_behind,
)
from harness.report.table import Cell, Table, columns, figure, words

_FIRST = {"decode": "fastest decoding", "prefill": "fastest prefill", "memory": "least memory"}
_MIB = 2**20
_NAMED = 2  # of those that cannot be told apart from the best, in the sentence


def sentence(ranking: Ranking) -> str:
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
    return f"{text}."


def figures(option: Option, prefer: Preference = "decode") -> list[str]:
    """What is known of an option, the most important first."""
    found = []
    speed = option.prefill_tok_per_s if prefer == "prefill" else option.decode_tok_per_s
    if speed is not None:
        found.append(f"{number(speed)} tok/s" + (" of prefill" if prefer == "prefill" else ""))
    if option.ram_bytes is not None:
        found.append(size(option.ram_bytes) + (" of RAM" if option.vram_bytes else ""))
    if option.vram_bytes:
        found.append(f"{size(option.vram_bytes)} of VRAM")
    if option.agreement is not None:
        found.append(f"{share(option.agreement)} of tokens as under the exact reference")
    if option.right is not None:
        right, of = option.right
        found.append(f"{right} of {count(of, 'answer')} right")
    return found


def limits_text(wishes: Wishes) -> str:
    """What was asked for."""
    limits = []
    if wishes.vram_bytes is not None:
        limits.append(f"at most {size(wishes.vram_bytes)} of VRAM")
    if wishes.ram_bytes is not None:
        limits.append(f"at most {size(wishes.ram_bytes)} of RAM")
    if wishes.min_agreement is not None:
        limits.append(f"at least {share(wishes.min_agreement)} agreement")
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


def costs(ranking: Ranking) -> Iterator[str]:
    """What the runner-up costs beside the best, and both beside the reference."""
    found, reference = ranking.found, ranking.reference
    if found.best is None:
        return
    if found.runner_up is not None:
        yield _costs(found.runner_up, found.best, "the best")
    if reference is not None and reference not in (found.best, found.runner_up):
        for one in filter(None, (found.best, found.runner_up)):
            yield _costs(one, reference, "the reference")


def unmeasured(ranking: Ranking) -> Iterator[tuple[str, str]]:
    """(heading, text) of all that is no choice, or of which something is not known."""
    found = ranking.found
    refused = [(one, why) for one, why in found.refused if one.unfit is None]
    unfit = [(one, why) for one, why in found.refused if one.unfit is not None]
    fit = [one for one in (found.best, found.runner_up, *found.others) if one is not None]
    yield from _by_reason("Not under the limits", refused)
    yield from _by_reason("Failed", unfit)
    yield from _by_reason("Not known", found.unknown)
    unscored = [
        (one, one.why("agreement") or "not recorded") for one in fit if one.agreement is None
    ]
    yield from _by_reason("Without quality", unscored)
    for one in fit:
        for caution in one.cautions:
            yield "Careful", f"“{one.name}”: {caution}"
    for one in filter(None, (found.best, found.runner_up)):
        unsure = _unsure(one, ranking.wishes.min_agreement)
        if unsure is not None:
            yield "Careful", unsure


def _unsure(option: Option, least: float | None) -> str | None:
    """That the limit on agreement lies within the interval of what was measured."""
    low, high = option.agreement_low, option.agreement_high
    if least is None or low is None or high is None or low >= least:
        return None
    return (
        f"“{option.name}”: its tokens are too few to tell its agreement closer than "
        f"{share(low)} to {share(high)}, and {share(least)} lies between"
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
        yield f"“{miss.option.name}” {listing(has)}. It qualifies with {' '.join(options(miss))}."


def options(miss: Miss) -> list[str]:
    """The limits to be given instead, so that the strategy passes: rounded to its side."""
    given = []
    for name, value in miss.needs:
        if name == "min_agreement":
            given += ["--min-agreement", f"{share(value).replace(' ', '')}"]
        else:
            given += [f"--{name.removesuffix('_bytes')}", f"{math.ceil(value / _MIB)}MiB"]
    return given


def wish_options(wishes: Wishes, without: Sequence[str] = ()) -> list[str]:
    """The options that ask for the same, but for some limits, in bytes and in parts of 1."""
    limits: list[tuple[str, float | None]] = [
        ("vram_bytes", wishes.vram_bytes),
        ("ram_bytes", wishes.ram_bytes),
        ("min_agreement", wishes.min_agreement),
    ]
    given = []
    for name, value in limits:
        if value is not None and name not in without:
            option = name.removesuffix("_bytes").replace("_", "-")
            given += [f"--{option}", f"{value}"]
    return given + (["--prefer", wishes.prefer] if wishes.prefer != "decode" else [])


def _none_sentence(ranking: Ranking) -> str:
    if not ranking.is_measured:
        return "nothing to recommend: no strategy was measured."
    near = nearest(ranking.options, ranking.wishes)
    if not near:
        why = next((why for _, why in (*ranking.found.unknown, *ranking.found.refused)), None)
        return "nothing to recommend" + (f": {why}." if why else ".")
    return (
        f"nothing qualifies; nearest is “{near[0].option.name}”, with {' '.join(options(near[0]))}."
    )


def _in_brief(option: Option, best: Option, prefer: Preference) -> str:
    found = against(option, best, prefer)
    if found is None:
        return f"“{option.name}”"
    of = {"decode": "the speed", "prefill": "the prefill speed", "memory": "the memory"}[prefer]
    return f"“{option.name}” ({number(found.value)} × {of})"


def _costs(option: Option, other: Option, what: str) -> str:
    parts = [*_speeds(option, other), *_memories(option, other), *_qualities(option, other)]
    said = ", ".join(parts) or "nothing to compare"
    return f"“{option.name}” beside {what}, “{other.name}”: {said}."


def _speeds(option: Option, other: Option) -> Iterator[str]:
    for prefer, what in (("decode", "decode speed"), ("prefill", "prefill speed")):
        found = against(option, other, prefer)  # type: ignore[arg-type]
        if found is not None:
            ends = ""
            if found.low is not None and found.high is not None:
                ends = f" ({number(found.low, found.value)} to {number(found.high, found.value)})"
            yield f"{number(found.value)} × the {what}{ends}"


def _memories(option: Option, other: Option) -> Iterator[str]:
    for mine, its, what in (
        (option.ram_bytes, other.ram_bytes, "RAM"),
        (option.vram_bytes, other.vram_bytes, "VRAM"),
    ):
        if mine is None or its is None or mine == its == 0:
            continue
        if abs(mine - its) <= SAME_MEMORY * min(mine, its):
            yield f"the same {what}"
        else:
            yield f"{size(abs(mine - its))} {'more' if mine > its else 'less'} {what}"


def _qualities(option: Option, other: Option) -> Iterator[str]:
    if option.agreement is not None and other.agreement is not None:
        points = (option.agreement - other.agreement) * 100
        yield (
            f"{number(abs(points))} points {'more' if points > 0 else 'less'} agreement"
            if points
            else "the same agreement"
        )
    if option.kl_mean is not None and other.kl_mean is not None:
        yield f"a KL of {number(option.kl_mean)} instead of {number(other.kl_mean)}"
    if option.right is not None and other.right is not None and option.right[1] == other.right[1]:
        more = option.right[0] - other.right[0]
        yield (
            f"{count(abs(more), 'right answer')} {'more' if more > 0 else 'fewer'}"
            if more
            else "as many right answers"
        )


def _with_roles(option: Option, role: str | None) -> str:
    roles = [role] if role else []
    if option.is_reference:
        roles.append("reference")
    return f"{option.name} ({', '.join(roles)})" if roles else option.name


def _by_reason(heading: str, found: Sequence[tuple[Option, str]]) -> Iterator[tuple[str, str]]:
    by_reason: dict[str, list[str]] = {}
    for one, why in found:
        by_reason.setdefault(why, []).append(f"“{one.name}”")
    for why, names in by_reason.items():
        yield heading, f"{listing(names)}: {why}"


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
        return figure(None, option.why("agreement") or "a row of it was not finite")
    text = number(option.kl_mean)
    if option.kl_most is None:
        return figure(f"≥ {text}")
    exact = option.kl_most == option.kl_mean
    return figure(text if exact else f"{text} to\n{number(option.kl_most)}")


def _right(option: Option) -> Cell:
    if option.right is None:
        return figure(None, option.why("score"))
    return figure(f"{option.right[0]} of {option.right[1]}")
