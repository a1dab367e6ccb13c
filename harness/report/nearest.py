"""Where no strategy keeps to all limits: which one misses them least, and by how much. Pure.

Knows the same figures as `recommend.py`, whose limits these are; says nothing in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.recommend import Option, Wishes, ranked, unknown_figure

_TRACE, _BYTE = 1e-9, 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Miss:
    """One strategy, and what the limits that it breaks would have to be for it to pass."""

    option: Option
    needs: tuple[tuple[str, float], ...]  # fields of `Wishes` -> bytes, or a share from 0 to 1


def nearest(options: Sequence[Option], wishes: Wishes) -> tuple[Miss, ...]:
    """For each way to loosen as few limits as can be, the strategy that needs least; best first.

    How far a limit is missed is told in parts of what it allows: bytes of the limit, and tokens
    that differ of those that may. Empty where loosening helps none: each one failed, or lacks a
    figure that is asked for. What passes has no needs, and is not here.
    """
    misses = []
    for at, option in enumerate(ranked(options, wishes.prefer)):
        if option.unfit is not None or unknown_figure(option, wishes) is not None:
            continue
        needs = _needs(option, wishes)
        if needs:
            far = max(_how_far(name, value, wishes) for name, value in needs)
            misses.append((far, at, Miss(option=option, needs=needs)))
    fewest = min((len(miss.needs) for *_, miss in misses), default=0)
    by_limits: dict[tuple[str, ...], Miss] = {}
    for _, _, miss in sorted(misses, key=lambda one: one[:2]):
        if len(miss.needs) == fewest:
            by_limits.setdefault(tuple(name for name, _ in miss.needs), miss)
    return tuple(by_limits.values())


def _needs(option: Option, wishes: Wishes) -> tuple[tuple[str, float], ...]:
    needs: list[tuple[str, float]] = []
    for name, has, may in (
        ("vram_bytes", option.vram_bytes, wishes.vram_bytes),
        ("ram_bytes", option.ram_bytes, wishes.ram_bytes),
    ):
        if has is not None and may is not None and has > may:
            needs.append((name, has))
    least = wishes.min_agreement
    if least is not None and option.agreement is not None and option.agreement < least:
        needs.append(("min_agreement", option.agreement))
    return tuple(needs)


def _how_far(name: str, need: float, wishes: Wishes) -> float:
    """By how much of what is allowed the limit is missed; a limit of nothing allows a trace."""
    if name == "min_agreement":
        return (1 - need) / max(1 - (wishes.min_agreement or 0.0), _TRACE) - 1
    return need / max(float(getattr(wishes, name)), _BYTE) - 1
