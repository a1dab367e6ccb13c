"""What one strategy costs beside another, in words: speed, memory, quality.

Knows two options; which of them stand beside each other is the ranking's. What is not of the same
tokens, or not of the same questions asked in the same way, is not compared; nor are right answers
where the clock cut some short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.report.format import count, interval, number, size
from harness.report.quality_cells import NO_DIFFERENCE, nats
from harness.report.ranking import Ranking
from harness.report.recommend import SAME_MEMORY, Option, against

_NO_BOUND = "no bound"


def costs(ranking: Ranking) -> Iterator[str]:
    """What the runner-up costs beside the best, and both beside the reference."""
    found = ranking.found
    if found.best is None:
        return
    if found.runner_up is not None:
        yield _costs(found.runner_up, found.best, "the best")
    for one in filter(None, (found.best, found.runner_up)):
        reference = ranking.reference_of(one)
        if reference not in (None, found.best, found.runner_up) and reference.is_measured:
            yield _costs(one, reference, "the reference")


def bounds_text(option: Option) -> str:
    """Its KL, as `2.1e−5`, or the bounds between which it lies; the option has one."""
    least, most = nats(option.kl_mean or 0.0), None
    if option.kl_most is not None:
        most = nats(option.kl_most)
    if least == most:
        return least
    if (option.kl_mean or 0.0) < NO_DIFFERENCE:
        return _NO_BOUND if most is None else f"≤ {most}"
    return f"≥ {least}" if most is None else f"{least} to {most}"


def _costs(option: Option, other: Option, what: str) -> str:
    parts = [*_speeds(option, other), *_memories(option, other), *_qualities(option, other)]
    said = ", ".join(parts) or "nothing to compare"
    return f"“{option.name}” beside {what}, “{other.name}”: {said}."


def _speeds(option: Option, other: Option) -> Iterator[str]:
    for prefer, what in (("decode", "decode speed"), ("prefill", "prefill speed")):
        found = against(option, other, prefer)  # type: ignore[arg-type]
        if found is not None:
            ends = interval(found.low, found.high, found.value)
            yield f"{number(found.value)} × the {what}{f' ({ends})' if ends else ''}"


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
    if option.scored == other.scored:
        yield from _agreements(option, other)
        yield from _divergences(option, other)
    if option.right is None or other.right is None or option.asked != other.asked:
        return
    if option.unfinished or other.unfinished:
        return
    if option.right[1] == other.right[1]:
        more = option.right[0] - other.right[0]
        yield (
            f"{count(abs(more), 'right answer')} {'more' if more > 0 else 'fewer'}"
            if more
            else "as many right answers"
        )


def _agreements(option: Option, other: Option) -> Iterator[str]:
    if option.agreement is None or other.agreement is None:
        return
    points = (option.agreement - other.agreement) * 100
    if not points:
        yield "the same agreement"
        return
    less, more = sorted([option, other], key=lambda one: one.agreement or 0.0)
    high, low = less.agreement_high, more.agreement_low
    unsure = high is not None and low is not None and high >= low
    yield (
        f"{number(abs(points))} points {'more' if points > 0 else 'less'} agreement"
        + (" (not told apart)" if unsure else "")
    )


def _divergences(option: Option, other: Option) -> Iterator[str]:
    """The two divergences, and whether their bounds tell which is less."""
    if option.kl_mean is None or other.kl_mean is None:
        return
    mine, its = (bounds_text(one) for one in (option, other))
    most, its_most = (math.inf if one.kl_most is None else one.kl_most for one in (option, other))
    is_exact = most == option.kl_mean and its_most == other.kl_mean
    if _NO_BOUND in (mine, its):
        yield "no KL to compare, as nothing bounds it"
    elif mine == its and (is_exact or max(most, its_most) < NO_DIFFERENCE):
        yield f"the same KL of {mine}"
    elif is_exact or most < other.kl_mean or its_most < option.kl_mean:
        yield f"a KL of {mine} instead of {its}"
    else:
        yield f"a KL of {mine} beside {its} (the bounds do not tell which is less)"
