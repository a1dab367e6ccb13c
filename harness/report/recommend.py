"""Which measured strategy to run, under limits of memory and quality. Pure.

Knows figures of strategies; nothing of records, files or tables. What was not measured is never
taken to be good: a strategy whose memory or quality is not known does not pass a limit on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.report.format import size

Preference = Literal["decode", "prefill", "memory"]
PREFERENCES: tuple[Preference, ...] = ("decode", "prefill", "memory")


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One measured strategy of a model; None for what was not measured."""

    name: str
    decode_tok_per_s: float | None = None
    prefill_tok_per_s: float | None = None
    ram_bytes: int | None = None
    vram_bytes: int | None = None  # of the fullest accelerator; 0 where it uses none
    agreement: float | None = None  # share of tokens, 0 to 1
    kl_mean: float | None = None
    right: tuple[int, int] | None = None  # answers, of how many
    # Why it is no choice whatever the limits are: it failed, or gives another answer every time.
    unfit: str | None = None
    why_missing: tuple[tuple[str, str], ...] = ()  # field -> why it is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What a user can afford, and what is preferred among that."""

    ram_bytes: int | None = None
    vram_bytes: int | None = None
    min_agreement: float | None = None  # share, 0 to 1
    prefer: Preference = "decode"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """The best under the wishes, the one behind it, and why each other one is neither."""

    best: Option | None  # None: none qualifies
    runner_up: Option | None = None
    others: tuple[Option, ...] = ()  # that qualify too, best first
    refused: tuple[tuple[Option, str], ...] = ()  # too large, too far off: measured, and no choice
    unknown: tuple[tuple[Option, str], ...] = ()  # what the wishes ask for was not measured


def recommend(options: Sequence[Option], wishes: Wishes) -> Recommendation:
    """Rank the options that keep to all limits; ties go to less memory, then by name."""
    fit: list[Option] = []
    refused: list[tuple[Option, str]] = []
    unknown: list[tuple[Option, str]] = []
    for option in options:
        why_unknown = _unknown(option, wishes)
        why_refused = option.unfit or _refused(option, wishes)
        if why_refused is not None:
            refused.append((option, why_refused))
        elif why_unknown is not None:
            unknown.append((option, why_unknown))
        else:
            fit.append(option)
    fit.sort(key=lambda option: _rank(option, wishes.prefer))
    best, runner_up = [*fit, None, None][:2]
    return Recommendation(
        best=best,
        runner_up=runner_up,
        others=tuple(fit[2:]),
        refused=tuple(refused),
        unknown=tuple(unknown),
    )


def memory_bytes(option: Option) -> int | None:
    """Host and fullest accelerator together; None where either is not known."""
    if option.ram_bytes is None or option.vram_bytes is None:
        return None
    return option.ram_bytes + option.vram_bytes


def _rank(option: Option, prefer: Preference) -> tuple[float, float, str]:
    memory = memory_bytes(option)
    by_memory = float("inf") if memory is None else float(memory)
    if prefer == "memory":
        return (by_memory, -(option.decode_tok_per_s or 0.0), option.name)
    speed = option.prefill_tok_per_s if prefer == "prefill" else option.decode_tok_per_s
    return (-(speed or 0.0), by_memory, option.name)


def _refused(option: Option, wishes: Wishes) -> str | None:
    """Which limit it breaks, of those whose figure is known."""
    limits: list[tuple[int | None, int | None, str]] = [
        (option.vram_bytes, wishes.vram_bytes, "VRAM"),
        (option.ram_bytes, wishes.ram_bytes, "RAM"),
    ]
    for has, may, what in limits:
        if has is not None and may is not None and has > may:
            return f"takes {size(has)} of {what}, more than {size(may)}"
    least = wishes.min_agreement
    if option.agreement is not None and least is not None and option.agreement < least:
        return f"agrees on {option.agreement:.2%} of tokens, less than {least:.2%}"
    return None


def _unknown(option: Option, wishes: Wishes) -> str | None:
    """Which figure that the wishes ask for it lacks, and why."""
    wanted: list[tuple[str, str, Callable[[Option], object], bool]] = [
        ("decode_tok_per_s", "decode speed", lambda o: o.decode_tok_per_s, _asks(wishes, "decode")),
        (
            "prefill_tok_per_s",
            "prefill speed",
            lambda o: o.prefill_tok_per_s,
            _asks(wishes, "prefill"),
        ),
        ("vram_bytes", "VRAM", lambda o: o.vram_bytes, wishes.vram_bytes is not None),
        ("ram_bytes", "RAM", lambda o: o.ram_bytes, wishes.ram_bytes is not None),
        ("memory", "memory", memory_bytes, _asks(wishes, "memory")),
        ("agreement", "agreement", lambda o: o.agreement, wishes.min_agreement is not None),
    ]
    reasons = dict(option.why_missing)
    for name, what, value, is_asked in wanted:
        if is_asked and value(option) is None:
            why = reasons.get(name)
            return f"{what} not measured" + (f": {why}" if why else "")
    return None


def _asks(wishes: Wishes, prefer: Preference) -> bool:
    return wishes.prefer == prefer
