"""Watches the machine while a worker works, and holds what was seen against the study's limits.

The window is what is timed: it begins when the model is loaded and ends with the last result. All
is done by whoever waits for the worker, about once a second; there is no thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from harness.config.noise_settings import Cause, Noise, NoiseSetting, noise_of
from harness.machine.quiet import Probes, Sampler, Seen
from harness.machine.quiet.probes import ALL_FIGURES, Absent
from harness.measure.job import Failed, Finished, Message, Opened
from harness.records.record import Outcome
from harness.records.validity import Disturbance, Validity, say
from harness.runtime.strategy import LayerPlan, device_key

_OFF = "the study says `noise: off`"
_CAUSES: tuple[str, ...] = Cause.__args__  # type: ignore[attr-defined]


class Watcher(Protocol):
    """What `run_job` calls before and after it waits for a worker."""

    def start(self, pid: int) -> None:
        """The worker was started."""

    def stop(self) -> None:
        """The worker has said its last word, or its time is up; nobody has waited for it yet."""


class MachineWatcher:
    """A `Watcher` that samples the machine; hears the worker's messages besides."""

    def __init__(self, sampler: Sampler, clock: Callable[[], float] = time.monotonic) -> None:
        self._sampler, self._clock = sampler, clock
        self._pid: int | None = None
        self._started = self._wall_s = 0.0
        self._cpu_before = self._cpu_s = 0.0
        self._during = "trial"
        self._seen: Seen | None = None

    def start(self, pid: int) -> None:
        """Begin with the whole trial, until the model is loaded."""
        self._pid = pid
        self._started, self._cpu_before = self._clock(), time.process_time()
        self._sampler.begin(pid)

    def hearing(self, on_message: Callable[[Message], None]) -> Callable[[Message], None]:
        """For `run_job`: hears each message, then passes it on."""

        def hear(message: Message) -> None:
            self.hear(message)
            on_message(message)

        return hear

    def waking(self, on_wait: Callable[[], None] | None) -> Callable[[], None]:
        """For `run_job`: takes a sample if one is due, then passes the call on."""

        def wake() -> None:
            self.tick()
            if on_wait is not None:
                on_wait()

        return wake

    def hear(self, message: Message) -> None:
        """The window begins anew with the loaded model, and ends with the last word."""
        if isinstance(message, Opened) and self._pid is not None:
            self._during = "measuring"
            self._sampler.begin(self._pid)
        elif isinstance(message, Finished | Failed):
            self._end()
        else:
            self.tick()  # a worker that says much lets its parent never wait

    def tick(self) -> None:
        """Take a sample if one is due; called whenever the parent wakes."""
        if self._seen is None:
            self._sampler.tick()

    def stop(self) -> None:
        """End what no last word has ended."""
        self._end()
        self._wall_s = self._clock() - self._started
        self._cpu_s = time.process_time() - self._cpu_before

    def validity(self, setting: NoiseSetting) -> Validity | None:
        """What was seen, against a study's limits; None where no worker came to its end."""
        if self._seen is None:
            return None
        seen, noise = self._seen, noise_of(setting)
        names = {one.name for one in msgspec.structs.fields(Validity)}
        plain = {
            "during": self._during,
            "seen_s": seen.seconds,
            "samples": seen.samples,
            "wall_s": self._wall_s,
            "parent_cpu_s": self._cpu_s,
            **{name: value for name, value in seen.figures.items() if name in names},
            "missing": seen.missing,
        }
        validity = msgspec.json.decode(msgspec.json.encode(plain), type=Validity)
        found = [] if noise is None else disturbances(validity, noise)
        return msgspec.structs.replace(validity, disturbances=found)

    def _end(self) -> None:
        if self._seen is None and self._pid is not None:
            self._seen = self._sampler.end()


def watch(setting: NoiseSetting, probes: Probes, *, gpus: Collection[str] | None) -> MachineWatcher:
    """A watcher for one trial, with the sources of this machine; none where `noise: off`.

    `gpus`: the CUDA devices that the trial uses, as `cuda_devices_of` gives them.
    """
    if noise_of(setting) is None:
        return MachineWatcher(Sampler([Absent(ALL_FIGURES, _OFF)]))
    return MachineWatcher(Sampler(probes.sources(gpus=gpus)))


def cuda_devices_of(plan: Sequence[LayerPlan] | None) -> frozenset[str] | None:
    """The CUDA devices that a strategy puts anything on; None where it is not known: any may be."""
    if plan is None:
        return None
    return frozenset(device_key(one.device) for one in plan if one.device.startswith("cuda"))


def disturbances(validity: Validity, noise: Noise) -> list[Disturbance]:
    """Every figure beyond its limit; one that was not seen is beyond none."""
    found = []
    for cause in _CAUSES:
        figure, limit = getattr(validity, cause), getattr(noise, cause)
        if figure is not None and limit is not None and figure > limit:
            found.append(
                Disturbance(cause=cause, figure=figure, limit=limit, spoils=cause in noise.noisy)
            )
    return found


def judged_quiet(outcome: Outcome, validity: Validity | None, workload: str) -> Outcome:
    """The outcome, or `noisy` for a good one whose figures were spoilt.

    Answers and quality are not: what a model says does not hang on who else computes.
    """
    if outcome.kind != "ok" or validity is None or workload in ("answers", "quality"):
        return outcome
    spoilt = validity.spoilt_by
    if not spoilt:
        return outcome
    return Outcome(kind="noisy", reason="; ".join(say(one) for one in spoilt))
