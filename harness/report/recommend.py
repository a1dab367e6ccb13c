"""Which measured strategy to run, under limits of memory and quality. Pure.

Knows figures of strategies; nothing of records, files or tables. What was not measured is never
taken to be good: a strategy whose memory or quality is not known does not pass a limit on it.
`nearest.py` says by how much a limit would have to give where none passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.report.asked import asked_share
from harness.report.format import listing, share, size
from harness.stats import Ratio, ratio

Preference = Literal["decode", "prefill", "memory"]
PREFERENCES: tuple[Preference, ...] = ("decode", "prefill", "memory")

# Peaks of the same work differ by this much from one process to the next.
SAME_MEMORY = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One measured strategy of a model; None for what was not measured."""

    name: str
    decode_tok_per_s: float | None = None
    prefill_tok_per_s: float | None = None
    ram_bytes: int | None = None
    vram_bytes: int | None = None  # of the fullest accelerator; 0 where it uses none
    agreement: float | None = None  # share of tokens, 0 to 1
    scored_on: str | None = None  # of which tokens the agreement and the KL are
    # Of its own answers, the hash of how they were asked, or ""; None: of a text.
    scored_under: str | None = None
    agreement_low: float | None = None  # its interval
    agreement_high: float | None = None
    kl_mean: float | None = None  # nats per token; of the small form, the least that it can be
    kl_most: float | None = None  # the most: equal where it is exact, None where nothing bounds it
    right: tuple[int, int] | None = None  # answers, of how many
    unfinished: int = 0  # of these, not right by the deadline that cut them
    questions: str | None = None  # the hash of what was asked, where it is known
    presented: str | None = None  # the same of how: another prompt or sampling is another
    # The speeds behind the two above, one per trial.
    decode_trials: tuple[float, ...] = ()
    prefill_trials: tuple[float, ...] = ()
    is_disturbed: bool = False  # the speeds: the machine was not quiet in any of these trials
    is_reference: bool = False  # others of its study are compared with it
    reference: str | None = None  # the name of the option that it is compared with
    # Why it is no choice whatever the limits are: it failed, or gives another answer every time.
    unfit: str | None = None
    why_missing: tuple[tuple[str, str], ...] = ()  # field -> why it is None
    cautions: tuple[str, ...] = ()  # what a user should know who runs it
    runs: tuple[str, ...] = ()  # names of the runs that its figures are from

    @property
    def is_measured(self) -> bool:
        """Whether it has a speed or a peak."""
        return any((self.decode_tok_per_s, self.prefill_tok_per_s, self.ram_bytes))

    @property
    def scored(self) -> tuple[str | None, str | None]:
        """What must be equal for two options' agreement and KL to be compared."""
        return self.scored_on, self.scored_under

    @property
    def asked(self) -> tuple[str | None, str | None]:
        """What must be equal for two options' right answers to be compared."""
        return self.questions, self.presented

    def why(self, name: str) -> str | None:
        """Why a figure is missing."""
        return dict(self.why_missing).get(name)


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
    """Rank the options that keep to all limits; ties go to less memory, then by name.

    Where little memory is preferred, sizes within `SAME_MEMORY` of the least are one size, and the
    faster of those comes first.
    """
    fit: list[Option] = []
    refused: list[tuple[Option, str]] = []
    unknown: list[tuple[Option, str]] = []
    for option in options:
        why_unknown = unknown_figure(option, wishes)
        broken = _broken_limits(option, wishes)
        if option.unfit is not None:
            refused.append((option, option.unfit))
        elif broken:
            # What is not known would refuse it too, whatever the broken limits were.
            refused.append((option, "; ".join([*broken, *filter(None, [why_unknown])])))
        elif why_unknown is not None:
            unknown.append((option, why_unknown))
        else:
            fit.append(option)
    order = ranked(fit, wishes.prefer)
    return Recommendation(
        best=order[0] if order else None,
        runner_up=order[1] if len(order) > 1 else None,
        others=tuple(order[2:]),
        refused=tuple(refused),
        unknown=tuple(unknown),
    )


def ranked(options: Sequence[Option], prefer: Preference) -> list[Option]:
    """All of them, best first."""
    left = sorted(options, key=lambda option: _rank(option, prefer))
    if prefer != "memory":
        return left
    order: list[Option] = []
    while left:
        order.append(min(_as_small(left), key=lambda option: _rank(option, "decode")))
        left.remove(order[-1])
    return order


def against(option: Option, other: Option, prefer: Preference) -> Ratio | None:
    """How many times the other's preferred figure; None where either has none."""
    if prefer == "memory":
        mine, its = memory_bytes(option), memory_bytes(other)
        return Ratio(value=mine / its, low=None, high=None) if mine and its else None
    mine_s, its_s = (
        one.prefill_trials if prefer == "prefill" else one.decode_trials for one in (option, other)
    )
    return ratio(mine_s, its_s) if mine_s and its_s else None


def is_behind(option: Option, best: Option, prefer: Preference) -> bool:
    """Whether it is worse than the best by more than what noise could explain."""
    found = against(option, best, prefer)
    if found is None:
        return False
    if prefer == "memory":
        return found.value > 1 + SAME_MEMORY
    return found.high is not None and found.high < 1


def memory_bytes(option: Option) -> int | None:
    """Host and fullest accelerator together; None where either is not known."""
    if option.ram_bytes is None or option.vram_bytes is None:
        return None
    return option.ram_bytes + option.vram_bytes


def _as_small(options: Sequence[Option]) -> list[Option]:
    """Those that take no more than the first, which takes the least."""
    least = memory_bytes(options[0])
    if least is None:
        return [options[0]]
    sizes = [(memory_bytes(one), one) for one in options]
    return [one for has, one in sizes if has is not None and has <= least * (1 + SAME_MEMORY)]


def _rank(option: Option, prefer: Preference) -> tuple[float, float, str]:
    memory = memory_bytes(option)
    by_memory = float("inf") if memory is None else float(memory)
    if prefer == "memory":
        return (by_memory, -(option.decode_tok_per_s or 0.0), option.name)
    speed = option.prefill_tok_per_s if prefer == "prefill" else option.decode_tok_per_s
    return (-(speed or 0.0), by_memory, option.name)


def _broken_limits(option: Option, wishes: Wishes) -> list[str]:
    """Which limits it breaks, of those whose figure is known."""
    limits: list[tuple[int | None, int | None, str]] = [
        (option.vram_bytes, wishes.vram_bytes, "VRAM"),
        (option.ram_bytes, wishes.ram_bytes, "RAM"),
    ]
    broken = []
    for has, may, what in limits:
        if has is not None and may is not None and has > may:
            by = f"{size(has - may)} " if size(has) == size(may) else ""  # else both read alike
            broken.append(f"takes {size(has)} of {what}, {by}more than {size(may)}")
    least = wishes.min_agreement
    if option.agreement is not None and least is not None and option.agreement < least:
        told = f"agrees on {share(option.agreement)} of tokens, less than {asked_share(least)}"
        high = option.agreement_high
        unsure = high is not None and high >= least
        broken.append(f"{told}, as far as so few tokens can tell" if unsure else told)
    return broken


def unknown_figure(option: Option, wishes: Wishes) -> str | None:
    """Which figure that the wishes ask for it lacks, and why."""
    asked: list[tuple[bool, str, str]] = [
        (wishes.prefer == "decode", "decode_tok_per_s", "decode speed"),
        (wishes.prefer == "prefill", "prefill_tok_per_s", "prefill speed"),
        (wishes.vram_bytes is not None or wishes.prefer == "memory", "vram_bytes", "VRAM"),
        (wishes.ram_bytes is not None or wishes.prefer == "memory", "ram_bytes", "RAM"),
        (wishes.min_agreement is not None, "agreement", "agreement"),
    ]
    lacking: dict[str, list[str]] = {}  # reason -> what
    for is_asked, name, what in asked:
        if is_asked and getattr(option, name) is None:
            lacking.setdefault(option.why(name) or "", []).append(what)
    said = [
        f"{listing(names)} not measured" + (f": {why}" if why else "")
        for why, names in lacking.items()
    ]
    return "; ".join(said) or None
