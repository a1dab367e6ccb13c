"""The child: one trial or conversion, and the only bridge from measuring to engines.

Is told two descriptors: the job as JSON, and the pipe for messages (`job.py`). Dies with its
parent: standard input stays open as long as that lives, and a thread waits for its end; on Linux
the system sees to it besides, since a thread cannot run while C code holds the interpreter.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import structs

from harness.engines.base import Converting, Engine, ModelSource, Session
from harness.engines.registry import load_engine
from harness.errors import HarnessError, NotANumber, Unsupported, WrongAnswers
from harness.language.base import Tokenizer
from harness.language.sampling import SamplingSettings
from harness.language.tokenizer import load_tokenizer
from harness.machine.memory import peak_rss_bytes
from harness.machine.provenance import provenance_facts
from harness.machine.switch import probes_are_off
from harness.measure.address_space import limit_address_space
from harness.measure.answers import measure_answers, sampling_settings
from harness.measure.depth import measure_depth
from harness.measure.energy import energy_windows
from harness.measure.job import (
    Conversion,
    Converted,
    Failed,
    Finished,
    FirstPassed,
    Imported,
    Job,
    Message,
    Opened,
    PhaseEnded,
    Written,
)
from harness.measure.phase_memory import MemoryWatch, prefill_and_decode_apart
from harness.measure.probing import probe_limits
from harness.measure.referring import compute_reference
from harness.measure.scoring import look_at_first_tokens, measure_quality
from harness.measure.speed import measure_speed
from harness.measure.strays import die_with_parent
from harness.quality.gate import IF_DAMAGED
from harness.records.phases import PhaseMemory
from harness.records.record import SlotRecord

# What allocators say when they fail, in lower case.
_HOST_IS_FULL = ("can't allocate memory", "cannot allocate memory", "std::bad_alloc")
_DEVICE_IS_FULL = ("out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")
_SAY_S = 0.2  # between two messages on how far a conversion is


class Channel:
    """Sends messages to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "wb", buffering=0)

    def send(self, message: Message) -> None:
        """One JSON line."""
        self._pipe.write(msgspec.json.encode(message) + b"\n")


def main() -> None:
    """Read the job, do it, say how it went."""
    with os.fdopen(int(sys.argv[1]), "rb") as told:
        job = msgspec.json.decode(told.read(), type=Job)
    channel = Channel(int(sys.argv[2]))
    die_with_parent()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    memory = _Memory()
    try:
        limit_address_space(job.address_space_bytes)
        _work(job, channel, memory)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it becomes an outcome
        channel.send(describe(error, memory.watch, from_cache=job.from_cache))
        sys.exit(1)


class _Memory:
    """Holds the watch of a trial's memory, once there is one."""

    watch: MemoryWatch | None = None


def describe(
    error: BaseException, watch: MemoryWatch | None = None, *, from_cache: bool = False
) -> Failed:
    """The outcome that an exception stands for, and the memory that was measured until then.

    `from_cache` is whether the weights are converted ones that the cache keeps.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    if from_cache and isinstance(error, NotANumber):
        reason += IF_DAMAGED
    detail = "".join(traceback.format_exception(error))
    return Failed(
        kind=_kind(error),
        reason=_text(reason[:500]),
        detail=_text(detail[-8000:]),
        peak_rss=peak_rss_bytes(),
        phases=[] if watch is None else watch.broken_off(),
        device_peak_bytes={} if watch is None else watch.device_peaks,
    )


def _text(words: str) -> str:
    """Words as JSON can have them: a name of a file need not be UTF-8."""
    return words.encode("utf-8", errors="backslashreplace").decode("utf-8")


def _kind(error: BaseException) -> str:
    if isinstance(error, NotANumber):
        return "not_a_number"
    if isinstance(error, WrongAnswers):
        return "wrong_answers"
    if isinstance(error, HarnessError):  # refused in words: a device, a file, a tokenizer
        return "unsupported"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: this file has no torch
        return "out_of_memory_device"
    words = str(error).lower()
    if isinstance(error, RuntimeError) and any(word in words for word in _DEVICE_IS_FULL):
        return "out_of_memory_device"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(word in words for word in _HOST_IS_FULL)
    ):
        return "out_of_memory_host"
    return "crashed"


def _work(job: Job, channel: Channel, memory: _Memory) -> None:
    engine = load_engine(job.engine)
    channel.send(
        Imported(
            versions=engine.versions(),
            peak_rss=peak_rss_bytes(),
            provenance={} if probes_are_off() else provenance_facts(),
        )
    )
    if job.conversion is not None:
        _convert(engine, job, job.conversion, channel)
        return
    if job.reference is not None:
        compute_reference(engine, _source(job), job.reference, job.threads, channel.send)
        channel.send(Finished(peak_rss=peak_rss_bytes(), device_peak_bytes={}))
        return
    if job.limits:
        probe_limits(engine, job.limits, job.threads, channel.send)
        channel.send(Finished(peak_rss=peak_rss_bytes(), device_peak_bytes={}))
        return
    watch = memory.watch = MemoryWatch(job.phases)
    session = _open(engine, job, channel, watch)
    try:
        for phase in _measure(engine, job, session, channel, watch):
            channel.send(PhaseEnded(memory=phase))
        channel.send(Finished(peak_rss=peak_rss_bytes(), device_peak_bytes=watch.device_peaks))
    finally:
        session.close()


def _measure(
    engine: Engine, job: Job, session: Session, channel: Channel, watch: MemoryWatch
) -> Iterator[PhaseMemory]:
    """Do what the job says; yields the memory of each phase as it ends."""
    if job.gate is not None:
        look_at_first_tokens(session, job.gate, channel.send, from_cache=job.from_cache)
        watch.restart(session)
    if job.speed is not None:
        measure_speed(
            session,
            job.speed,
            job.seed,
            engine.clock,
            channel.send if job.gate is None else _behind_the_gate(channel.send),
            batch=job.batch,
            energy=energy_windows(session),
        )
        yield watch.end(session)
        longest = max(job.speed.prompt_lengths)
        yield from prefill_and_decode_apart(
            session, longest, job.speed.generate_tokens, job.batch, watch
        )
    if job.depth is not None:
        measure_depth(session, job.depth, job.seed, engine.clock, channel.send)
        yield watch.end(session)
    if job.scoring is not None:
        tokenizer = _drawn_with(job)
        settings = None if tokenizer is None else _settings(job, tokenizer)
        measure_quality(session, job.scoring, settings, channel.send, tokenizer)
        yield watch.end(session)
    elif job.answers is not None:
        tokenizer = _tokenizer(job)
        measure_answers(session, tokenizer, job, job.answers, engine.clock, channel.send)
        yield watch.end(session)


def _behind_the_gate(send: Callable[[Message], None]) -> Callable[[Message], None]:
    """Sends a first pass as one that was not cold."""

    def say(message: Message) -> None:
        if isinstance(message, FirstPassed):
            warm = structs.replace(message.first_pass, after_gate=True)
            message = structs.replace(message, first_pass=warm)
        send(message)

    return say


def _drawn_with(job: Job) -> Tokenizer | None:
    """The tokenizer of the answers that are scored; None where there are none."""
    if job.answers is None or job.scoring is None:
        return None
    if all(one.answer is None for one in job.scoring.passages):
        return None
    return _tokenizer(job)


def _settings(job: Job, tokenizer: Tokenizer) -> SamplingSettings:
    """How the answers that are scored were drawn."""
    assert job.answers is not None
    return sampling_settings(job.answers, tokenizer)


def _tokenizer(job: Job) -> Tokenizer:
    if job.tokenizer is None:
        raise HarnessError("this model has no tokenizer, so it cannot answer questions")
    return load_tokenizer(job.tokenizer)


def _convert(engine: Engine, job: Job, conversion: Conversion, channel: Channel) -> None:
    if not isinstance(engine, Converting):
        raise Unsupported(f"the {job.engine} engine converts no weights")
    said = 0.0

    def say(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _SAY_S or done == total:
            said = now
            channel.send(Written(done_bytes=done, total_bytes=total))

    start = engine.clock()
    engine.convert(
        _source(job),
        job.strategy,
        Path(conversion.out),
        threads=job.threads,
        source_sha256=conversion.source_sha256,
        on_progress=say,
    )
    channel.send(Converted(convert_s=engine.clock() - start))
    channel.send(Finished(peak_rss=peak_rss_bytes(), device_peak_bytes={}))


def _source(job: Job) -> ModelSource:
    is_random = job.weights.startswith("random:")
    return ModelSource(
        weights=job.weights if is_random else Path(job.weights), seed=job.weights_seed
    )


def _open(engine: Engine, job: Job, channel: Channel, watch: MemoryWatch) -> Session:
    source = _source(job)
    start = engine.clock()
    session = engine.open(source, job.strategy, threads=job.threads)
    session.synchronize()
    load_s = engine.clock() - start
    channel.send(
        Opened(
            load_s=load_s,
            phases=[watch.end(session)],
            peak_rss=peak_rss_bytes(),
            n_vocab=session.capabilities.n_vocab,
            plan=[
                SlotRecord(**{**vars(slot), "kernels": dict(slot.kernels)})
                for slot in session.effective_plan()
            ],
            warnings=list(session.warnings()),
            facts={} if probes_are_off() else engine.facts(),
        )
    )
    return session


def _die_with_parent() -> None:
    # Unbuffered: this thread must hold no lock that the interpreter's exit wants.
    os.read(sys.stdin.fileno(), 1)  # returns when the parent's end closes: the parent is gone
    os.killpg(0, signal.SIGKILL)  # ourselves and all we started: the parent made us a group
