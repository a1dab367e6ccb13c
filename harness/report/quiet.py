"""Was the machine quiet? What disturbed the trials of a strategy, in numbers and in words.

Of each figure the worst of the trials is shown: the question that it answers is whether something
happened. Knows which trials count; the limits were the study's, and were judged with the trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from msgspec import Struct, field

from harness.records.record import Record
from harness.records.validity import DEFINITIONS, GpuSeen, Validity, say

_LOWEST = ("cpu_min_mhz", "cpu_median_mhz")  # the worst of these is the smallest
_TOO_SHORT = "too short to tell"  # in the reason of a figure that was not told
_ALWAYS = ("other_cpu_cores",)  # shown also where no trial has it: the dash says why


class Quiet(Struct, frozen=True, kw_only=True):
    """How quiet the machine was during the trials of one strategy that count."""

    trials: int  # that count and say how quiet it was
    disturbed: int  # of them, those beyond a limit of the study
    spoilt: int  # of them, those that are noisy: no trial of their cell was quiet
    left_out: int  # noisy attempts that do not count, because a quiet trial of their cell does
    too_short: int = 0  # of them, those too short for figures of time, which nobody judged
    causes: tuple[str, ...] = ()  # names of figures beyond a limit, in any trial that counts
    says: tuple[str, ...] = ()  # each in a sentence, with the worst figure and the limit
    worst: dict[str, float] = field(default_factory=dict)
    gpus: tuple[GpuSeen, ...] = ()  # of the trial in which the first was hottest
    parent_cpu_share: float | None = None  # the harness' own, of one processor; median of trials
    missing: dict[str, str] = field(default_factory=dict)

    def note(self, *, in_full: bool = True) -> str | None:
        """The footnote behind an outcome; None where all was judged and no limit was passed.

        What disturbed is left to the report where this is not `in_full`.
        """
        if not self.causes:
            judge = f"{self._part}too short to judge whether it was disturbed"
            return judge if self.too_short else None
        # Of a cell without any quiet trial the outcome says that it was disturbed.
        said = "no trial was quiet" if self.spoilt else "disturbed"
        titles = ", ".join(_title(cause) for cause in self.causes)
        return f"{said}: {titles}" if in_full else f"{said} (by what: report.html)"

    @property
    def unjudged(self) -> str | None:
        """`not judged: too short`, and of how many of the trials; None where all were judged."""
        if not self.too_short:
            return None
        return f"{self._part}not judged: too short"

    @property
    def _part(self) -> str:
        """How many of the trials were too short, before what that means; empty for all of them."""
        all_of_them = self.too_short == self.trials
        return "" if all_of_them else f"{self.too_short} of {self.trials} trials "


def quiet_of(counted: Sequence[Record], left_out: int) -> Quiet | None:
    """What the trials that count say; None where none was watched."""
    seen = [record.validity for record in counted if record.validity is not None]
    if not seen:
        return None
    passed = [one for validity in seen for one in validity.disturbances]
    worst = {
        cause: max((d for d in passed if d.cause == cause), key=lambda d: d.figure)
        for cause in DEFINITIONS
        if any(d.cause == cause for d in passed)
    }
    return Quiet(
        trials=len(seen),
        disturbed=sum(bool(validity.disturbances) for validity in seen),
        spoilt=sum(record.outcome.kind == "noisy" for record in counted),
        left_out=left_out,
        too_short=sum(any(_TOO_SHORT in why for why in one.missing.values()) for one in seen),
        causes=tuple(worst),
        says=tuple(say(one) for one in worst.values()),
        worst=_worst(seen),
        gpus=_gpus(seen),
        parent_cpu_share=_parent_share(seen),
        missing={name: why for one in seen for name, why in one.missing.items()},
    )


def _worst(seen: Sequence[Validity]) -> dict[str, float]:
    found = {}
    for name in DEFINITIONS:
        values = [v for v in (getattr(one, name) for one in seen) if v is not None]
        if values:
            found[name] = float(min(values) if name in _LOWEST else max(values))
    return found


def _gpus(seen: Sequence[Validity]) -> tuple[GpuSeen, ...]:
    hottest = max(seen, key=lambda one: max((g.max_celsius or 0 for g in one.gpus), default=0))
    return tuple(hottest.gpus)


def _parent_share(seen: Sequence[Validity]) -> float | None:
    shares = [one.parent_cpu_s / one.wall_s for one in seen if one.parent_cpu_s and one.wall_s]
    return median(shares) if shares else None


def _title(cause: str) -> str:
    title = DEFINITIONS[cause].title
    return title if title[1].isupper() else title[0].lower() + title[1:]


def shown_figures(found: Iterable[Quiet]) -> tuple[str, ...]:
    """The figures that any of these has, in the order of their definitions."""
    some = {name for one in found for name in one.worst}
    return tuple(name for name in DEFINITIONS if name in some or name in _ALWAYS)


def missing_figures(found: Sequence[Quiet]) -> dict[str, list[str]]:
    """Why the others are missing: reason -> titles."""
    shown = shown_figures(found)
    reasons: dict[str, list[str]] = {}
    for name, about in DEFINITIONS.items():
        why: Any = next((one.missing[name] for one in found if name in one.missing), None)
        if name not in shown and why is not None:
            reasons.setdefault(why, []).append(about.title)
    return reasons
