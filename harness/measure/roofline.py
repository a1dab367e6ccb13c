"""What this machine can do at best: asked of a worker once per run and thread count, and kept.

Decides what is asked, and when. The limits are measured before the first trial that needs them, and
at the end again, so that a machine that became slower is seen; a run that goes on under the same
facts uses those it has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.config.engines import TORCH
from harness.config.noise_settings import NoiseSetting
from harness.config.study import Study
from harness.machine.caches import last_level_caches
from harness.machine.quiet import Probes
from harness.machine.switch import probes_are_off
from harness.measure.job import Job, LimitFound, Message
from harness.measure.judge import judge
from harness.measure.memory_limit import MemoryRoom, memory_room
from harness.measure.probing import unanswered
from harness.measure.process import Ended, run_job
from harness.measure.watching import Watcher, watch
from harness.plan.cell import Cell
from harness.plan.plan import Plan
from harness.records.limits_file import append_limits, read_limits
from harness.records.roofline import LimitSet
from harness.runtime.forecast_stored import HOST
from harness.runtime.limits import INT8, LimitQuestion
from harness.runtime.strategy import UINT8, LayerPlan, device_key
from harness.runtime.traffic import Slot, crosses_bus, multiplied_in
from harness.sizes import size

DEADLINE_S = 120.0
HOST_BYTES = 2**27  # at least
UNKNOWN_CACHES_BYTES = 2**28
DEVICE_BYTES = 2**29
CACHES = 4  # times the largest caches, so that no more than a part of the buffer is found there
MOST_HOST_BYTES = 2**31
NOT_USED = "no strategy of this run with these threads tells what its slots are"


class RunsJobs(Protocol):
    """`run_job`, or what stands for it in a test."""

    def __call__(  # noqa: PLR0913 - as `run_job`
        self,
        job: Job,
        *,
        deadline_s: float,
        log: Path,
        on_message: Callable[[Message], None] = ...,
        on_wait: Callable[[], None] | None = ...,
        watcher: Watcher | None = ...,
        room: MemoryRoom = ...,
    ) -> Ended:
        """Run one job to its end."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one run. Without a folder, or with `off`, there are none."""

    folder: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    # By thread count: what the strategies that will run need to know.
    questions: Mapping[int, tuple[LimitQuestion, ...]] = field(default_factory=dict)
    off: str | None = None  # why nothing is measured
    # As of the trials: the buffers can be large, and other work can be in the way.
    room: Callable[[], MemoryRoom] = lambda: MemoryRoom(missing="none was asked for")
    noise: NoiseSetting = False
    probes: Probes = field(default_factory=Probes)
    run: RunsJobs = run_job
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    _known: dict[int, LimitSet] = field(default_factory=dict, init=False)

    def before(
        self,
        threads: int,
        *,
        on_note: Callable[[str], None] = lambda _: None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        """Measure the limits of `threads`, unless this run has them or needs none.

        Takes a few seconds. Raises `Interrupted` on Ctrl-C, and `RecordsError` where they cannot be
        kept.
        """
        asked = self.questions.get(threads, ())
        if self.off is not None or self.folder is None or not asked or threads in self._known:
            return
        known = self._kept(threads)
        if known is None:
            on_note("measuring what this machine can do at best …")
            known = self._measure(threads, asked, "begin", on_wait)
        self._known[threads] = known

    def at_end(
        self,
        *,
        on_note: Callable[[str], None] = lambda _: None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        """Measure all of it again, so that a drift is seen; nothing if nothing was.

        All trials are done by now, so Ctrl-C leaves this out, and nothing else.
        """
        if self._known:
            on_note("Measuring once more what this machine can do at best …")
        try:
            for threads in self._known:
                self._measure(threads, self.questions[threads], "end", on_wait)
        except KeyboardInterrupt:
            on_note("Left out: the drift of the machine is not known.")

    def of(self, threads: int) -> LimitSet | str:
        """What was measured for `threads`, or why nothing was."""
        return self._known.get(threads) or self.off or NOT_USED

    def _kept(self, threads: int) -> LimitSet | None:
        """The newest of this run for the same facts, if it holds a figure."""
        assert self.folder is not None
        measured, _ = read_limits(self.folder)
        asked = {(q.kind, q.device, q.dtype) for q in self.questions[threads]}
        for one in reversed(measured):
            answered = {(limit.kind, limit.device, limit.dtype) for limit in one.limits}
            same = (one.threads, one.facts_sha256) == (threads, self._facts_sha256())
            if same and one.when == "begin" and asked <= answered:
                return one if any(limit.missing is None for limit in one.limits) else None
        return None

    def _measure(
        self,
        threads: int,
        asked: tuple[LimitQuestion, ...],
        when: Literal["begin", "end"],
        on_wait: Callable[[], None] | None,
    ) -> LimitSet:
        assert self.folder is not None
        gpus = {one.device for one in asked if one.device.startswith("cuda")}
        watcher = watch(self.noise, self.probes, gpus=gpus)
        ended = self.run(
            Job(
                engine=TORCH,
                strategy="",
                weights="",
                weights_seed=0,
                threads=threads,
                limits=list(asked),
            ),
            deadline_s=DEADLINE_S,
            log=self.folder / "logs" / f"limits-{threads}t-{when}.log",
            on_message=watcher.hearing(lambda _: None),
            on_wait=watcher.waking(on_wait),
            watcher=watcher,
            room=self.room(),
        )
        found = [message.limit for message in ended.messages if isinstance(message, LimitFound)]
        why = _why_silent(ended)
        validity = watcher.validity(self.noise)
        found += [unanswered(one, why) for one in asked[len(found) :]]
        measured = LimitSet(
            measured_at=self.now().isoformat(timespec="seconds"),
            when=when,
            threads=threads,
            facts_sha256=self._facts_sha256(),
            limits=found,
            disturbances=[] if validity is None else validity.disturbances,
        )
        append_limits(self.folder, measured)
        return measured

    def _facts_sha256(self) -> str:
        text = json.dumps(self.facts, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _why_silent(ended: Ended) -> str:
    """Why a worker did not answer all that it was asked."""
    if ended.passed_bytes is not None:
        return (
            f"measuring it held {size(ended.passed_bytes)}, more than {ended.room.short}: it needs "
            "buffers that no cache holds, and PyTorch beside them"
        )
    outcome = judge(ended, None)
    return f"{outcome.kind}: {outcome.reason}" if outcome.kind != "ok" else "no answer came"


def run_limits(
    study: Study,
    planned: Plan,
    plans: Mapping[Cell, tuple[LayerPlan, ...] | None],
    facts: Mapping[str, Any],
    folder: Path,
    probes: Probes | None = None,
) -> Limits:
    """The limits that the speed trials of a run need, kept in its folder."""
    if not study.roofline:
        return Limits(off="the study says `roofline: false`")
    if probes_are_off():
        return Limits(off="probes are switched off")
    needed: dict[int, list[tuple[LayerPlan, ...]]] = {}
    for one in planned.running:
        slots = plans[one.cell]
        if one.cell.workload == "speed" and slots is not None:
            needed.setdefault(one.cell.threads, []).append(slots)
    caches = last_level_caches() if needed else 1
    return Limits(
        folder=folder,
        facts=facts,
        room=lambda: memory_room(study.limits),
        noise=study.noise,
        probes=probes or Probes(),
        questions={
            threads: questions_for(some, host_buffer_bytes(facts, min(threads, caches)))
            for threads, some in needed.items()
        },
    )


def questions_for(plans: Iterable[Iterable[Slot]], host_bytes: int) -> tuple[LimitQuestion, ...]:
    """What to ask of the machine for strategies that resolve to these slots, each once.

    `host_bytes` are read where main memory is asked for (`host_buffer_bytes`).
    """
    slots = [slot for plan in plans for slot in plan]
    if not slots:
        return ()
    # What takes little memory comes first: it is known where a limit of memory stops the rest.
    wanted: dict[tuple[str, str, str | None], None] = {}
    for slot in slots:
        wanted["multiply", device_key(slot.device), multiplied_in(slot)] = None
    wanted["read", HOST, None] = None  # the embedding always lies there
    for slot in slots:
        wanted["read", device_key(slot.device), None] = None
    for slot in slots:
        int8 = INT8 if slot.weight_dtype == UINT8 else ""
        wanted["product", device_key(slot.device), f"{slot.dtype}{int8}"] = None
    for slot in slots:
        if crosses_bus(slot):
            wanted["bus", device_key(slot.device), None] = None
    return tuple(
        LimitQuestion(
            kind=kind,  # type: ignore[arg-type]
            device=device,
            dtype=dtype,
            n_bytes=host_bytes if device == HOST else DEVICE_BYTES,
        )
        for kind, device, dtype in wanted
    )


def host_buffer_bytes(facts: Mapping[str, Any], caches: int = 1) -> int:
    """Bytes to read where only the memory can have them, as far as the caches are known.

    `caches`: how many of the last level the threads can use at once, each on a core of its own.
    """
    known = facts.get("cpu_caches_bytes")
    sizes = known.values() if isinstance(known, Mapping) else ()
    largest = max((size for size in sizes if isinstance(size, int)), default=0)
    if not largest:
        return UNKNOWN_CACHES_BYTES
    return min(MOST_HOST_BYTES, max(HOST_BYTES, CACHES * caches * largest))
