"""What a source is: something of the machine that is read again and again, and what that tells.

Reading may fail; telling is pure. Knows no source in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from harness.machine.facts import NotKnown

Figures = Mapping[str, Any]
LEAST_S = 0.5  # below it nothing is told: the system counts CPU time in steps of 10 ms

Parsed = TypeVar("Parsed")


class Source(Protocol):
    """One probe. `read` and `tell` raise `NotKnown` where the machine does not say."""

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of what it tells."""
        ...

    @property
    def sampled(self) -> bool:
        """Whether it is read every second; else only first and last."""
        ...

    def read(self, worker: int) -> Any:
        """What can be read now; `worker` is the process id of what is measured."""
        ...

    def tell(self, readings: Sequence[Any], seconds: float) -> Figures:
        """The figures of a stretch of `seconds`, from its readings, at least two."""
        ...


class Growth:
    """What counters grew by: a reading is a tuple of numbers, one for each figure."""

    figures: tuple[str, ...]
    sampled = False
    unit = 1  # of a figure, in one step of its counter

    def tell(self, readings: Sequence[Sequence[int]], seconds: float) -> Figures:
        """The growth of each."""
        long_enough(seconds)
        ends = zip(self.figures, readings[0], readings[-1], strict=True)
        return {name: (last - first) * self.unit for name, first, last in ends}


class GrowthShare:
    """What a counter of seconds grew by, as a share of the time."""

    figures: tuple[str, ...]
    sampled = False

    def tell(self, readings: Sequence[float], seconds: float) -> Figures:
        """The share, 0 to 1."""
        return {self.figures[0]: share(readings[-1] - readings[0], seconds)}


class PartOfReadings:
    """At which part of the readings something was so."""

    figures: tuple[str, ...]
    sampled = False

    def tell(self, readings: Sequence[bool], seconds: float) -> Figures:
        """The part, 0 to 1."""
        del seconds
        return {self.figures[0]: sum(readings) / len(readings)}


def share(part: float, whole_s: float) -> float:
    """Part of a stretch of time, 0 to 1; raises `NotKnown` where it is too short to tell."""
    long_enough(whole_s)
    return min(1.0, max(0.0, part / whole_s))


def long_enough(seconds: float) -> None:
    """Raise `NotKnown` for a stretch that is too short to judge by."""
    if seconds < LEAST_S:
        raise NotKnown(f"{seconds:.2f} s is too short to tell; at least {LEAST_S} s are")


def understood(parse: Callable[[str], Parsed], text: str, path: str) -> Parsed:
    """`parse(text)`, or `NotKnown` where the text is not as expected."""
    try:
        return parse(text)
    except (ValueError, IndexError, KeyError) as error:
        raise NotKnown(f"/{path} is not understood") from error
