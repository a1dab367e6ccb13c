"""Reads sources around a stretch of time, and says what was seen.

Has no thread and never sleeps: whoever waits for the worker calls it. A source that fails once is
not asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.machine.facts import NotKnown
from harness.machine.quiet.source import Source

EVERY_S = 1.0  # between two samples


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the sources told of a stretch of time."""

    seconds: float
    samples: int  # how often the sampled sources were read
    figures: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # figure -> why there is none


class Sampler:
    """Watches one worker. `begin` may be called again: what came before is forgotten."""

    def __init__(
        self, sources: Sequence[Source], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = tuple(sources)
        self._clock = clock
        self._readings: dict[int, list[Any]] = {}
        self._failed: dict[int, str] = {}
        self._worker = 0
        self._began = self._last = 0.0
        self._samples = 0

    def begin(self, worker: int) -> None:
        """The stretch begins; `worker` is the process that is measured."""
        self._worker = worker
        self._readings = {at: [] for at in range(len(self._sources))}
        self._samples = 0
        self._began = self._clock()
        self._read(sampled_only=False)

    def tick(self) -> None:
        """Called at any rate; takes a sample where the last is about a second old."""
        if self._readings and self._clock() - self._last >= EVERY_S:
            self._read(sampled_only=True)

    def end(self) -> Seen:
        """The stretch ends. The worker may be dead, but must not have been waited for."""
        self._read(sampled_only=False)
        seconds = self._last - self._began
        figures: dict[str, Any] = {}
        missing: dict[str, str] = {}
        for at, source in enumerate(self._sources):
            why = self._failed.get(at)
            if why is None:
                try:
                    figures.update(source.tell(self._readings[at], seconds))
                    why = "not said"
                except NotKnown as error:
                    why = str(error)
            missing.update({name: why for name in source.figures if name not in figures})
        return Seen(seconds=seconds, samples=self._samples, figures=figures, missing=missing)

    def _read(self, *, sampled_only: bool) -> None:
        self._last = self._clock()
        self._samples += 1
        for at, source in enumerate(self._sources):
            if at in self._failed or (sampled_only and not source.sampled):
                continue
            try:
                self._readings[at].append(source.read(self._worker))
            except NotKnown as error:
                self._failed[at] = str(error)
