"""Run one job in a fresh interpreter under a deadline, and collect what it says.

The child is started by exec, never forked from a warm parent; it gets its own session, so that a
terminal's Ctrl-C reaches only the parent, and all its descendants can be killed together; what left
that session is found by `strays.py`. While it works the parent sleeps in `select`, and wakes a few
times a second where it must look at the worker's memory.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

import harness
from harness.errors import BadInput
from harness.machine.memory import MemoryReading, oom_kills
from harness.measure.job import Failed, Finished, Job, Message
from harness.measure.memory_guard import MemoryGuard
from harness.measure.memory_limit import MemoryRoom
from harness.measure.strays import Strays
from harness.measure.watching import Watcher
from harness.records.limits import MemoryLimit

_MESSAGE = msgspec.json.Decoder(Message)
_READ_BYTES = 2**16
_EXIT_S = 10.0  # that a worker may take to leave after its last word
_WAKE_S = 1.0  # between two looks at a silent worker
# As `python -m harness.measure.worker`, but nothing is imported from the current directory.
_START = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from harness.measure.worker import main; main()"
)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_NO_LIMIT = MemoryRoom(missing="none was asked for")
Why = Literal["done", "late", "over"]  # the worker's last word or end, its deadline, its limit


@dataclass(frozen=True, kw_only=True)
class Ended:
    """All that is known of a worker that is gone."""

    messages: tuple[Message, ...]
    returncode: int
    timed_out_s: float | None  # the deadline that passed, or None
    oom_kills: int  # kills by the system's out-of-memory killer while it ran
    log_tail: str  # the end of what it printed
    deadline_s: float = math.inf
    room: MemoryRoom = _NO_LIMIT
    passed_bytes: int | None = None  # what it held when it passed the limit of memory, or None
    memory: MemoryLimit | None = None  # the same for the record
    address_space_bytes: int | None = None  # the limit, or None
    strays: int = 0  # processes that had left its group, and were ended with it


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a worker ran; it is killed, and this holds what it had sent."""

    def __init__(self, ended: Ended) -> None:
        super().__init__("interrupted")
        self.ended = ended


def run_job(  # noqa: PLR0913 - one worker, and all that it is held to
    job: Job,
    *,
    deadline_s: float,
    renewed_by: type[Message] | None = None,
    log: Path,
    on_message: Callable[[Message], None] = lambda _: None,
    on_wait: Callable[[], None] | None = None,
    watcher: Watcher | None = None,
    room: MemoryRoom = _NO_LIMIT,
) -> Ended:
    """Run `job` to its end, its failure, its deadline or its limit of memory, `room`.

    With `renewed_by` the deadline is that of the next message of this type, each time. What the
    worker prints goes to the file `log`. `on_wait` is called about once a second, for a display;
    `watcher` looks at the machine meanwhile. No process is left, but for what `strays.py` says of
    this system. Raises `Interrupted` on Ctrl-C, after the worker is gone.
    """
    kills_before = oom_kills()
    deadline = _Deadline(deadline_s, renewed_by)
    messages: list[Message] = []
    why: Why = "done"
    interrupted = False
    returncode, n_strays = -signal.SIGKILL, 0
    guard, strays = MemoryGuard(room), Strays()
    try:
        with log.open("wb") as output, _nothing_left(guard, strays) as begun:
            with _started(job, output, strays.environment) as (process, pipe):
                begun.append(process.pid)
                guard.begin(process.pid)
                if watcher is not None:
                    watcher.start(process.pid)
                hear = _Listener(pipe, process, deadline, messages, on_message, on_wait, guard)
                why = hear.until_the_end()
                if watcher is not None:
                    watcher.stop()
                returncode = _end(process, kill=why != "done")
            n_strays = strays.end(process.pid)
    except KeyboardInterrupt:
        interrupted = True  # leaving the block has killed the worker
    ended = Ended(
        messages=tuple(messages),
        returncode=returncode,
        timed_out_s=deadline_s if why == "late" else None,
        oom_kills=oom_kills() - kills_before,
        log_tail=_tail(log),
        deadline_s=deadline_s,
        room=room,
        passed_bytes=guard.passed_bytes,
        memory=guard.record(),
        address_space_bytes=job.address_space_bytes,
        strays=n_strays,
    )
    if interrupted:
        raise Interrupted(ended)
    return ended


@contextlib.contextmanager
def _nothing_left(guard: MemoryGuard, strays: Strays) -> Iterator[list[int]]:
    """At the end nothing is left of the worker whose id was put into the list."""
    begun: list[int] = []
    with strays.adopted():
        try:
            yield begun
        finally:
            guard.end()
            # Also where we were interrupted before we had its id.
            strays.end(begun[0] if begun else 0)
            guard.close()


@contextlib.contextmanager
def _started(
    job: Job, output: BinaryIO, more_environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The worker and the pipe that it answers on; at the end it is gone, whatever happened."""
    with contextlib.ExitStack() as stack:
        # The job goes in as a file, so that a worker that does not read it cannot hold us up.
        told = stack.enter_context(tempfile.TemporaryFile())
        told.write(_encoded(job))
        told.flush()
        told.seek(0)
        read_end, write_end = os.pipe()
        stack.callback(os.close, read_end)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, str(told.fileno()), str(write_end)],
                stdin=subprocess.PIPE,  # stays open as long as we live
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(told.fileno(), write_end),
                start_new_session=True,
                env={**_environment(job.threads), **more_environment},
            )
            stack.callback(_clean_up, process)
        finally:
            os.close(write_end)
        yield process, read_end


def _encoded(job: Job) -> bytes:
    """The job as JSON. Raises `BadInput` for a path that no text can hold."""
    try:
        return msgspec.json.encode(job)
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{error.object}: the name of this file, or of a folder above it, is not UTF-8. "
            "Rename it, or put the study and its files elsewhere."
        ) from error


def _clean_up(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        _end(process, kill=True)
    if process.stdin is not None:
        process.stdin.close()


def _environment(threads: int) -> dict[str, str]:
    """Ours, with the thread count in every library's words, and this package importable.

    GPUs go by the order of their bus, whatever CUDA would do by itself.
    """
    environment = dict(os.environ)
    for name in _THREAD_VARIABLES:
        environment[name] = str(threads)
    environment["TOKENIZERS_PARALLELISM"] = "false"
    environment["PYTHONUNBUFFERED"] = "1"
    # As NVML, and so the plan, the facts and what is measured of a GPU count them.
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    root = str(Path(harness.__file__).resolve().parent.parent)
    # An empty entry would stand for the current directory.
    inherited = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    environment["PYTHONPATH"] = os.pathsep.join((root, *inherited))
    return environment


class _Deadline:
    """When a worker is late; `at` is of time.monotonic."""

    def __init__(self, s: float, renewed_by: type[Message] | None) -> None:
        self._s = s
        self._renewed_by = renewed_by
        self.at = time.monotonic() + s

    def hear(self, message: Message) -> None:
        """Begin anew where the worker got on."""
        if self._renewed_by is not None and isinstance(message, self._renewed_by):
            self.at = time.monotonic() + self._s


@dataclass(frozen=True)
class _Listener:
    """Collects what a worker says."""

    pipe: int
    process: subprocess.Popen[bytes]
    deadline: _Deadline
    messages: list[Message]
    on_message: Callable[[Message], None]
    on_wait: Callable[[], None] | None
    guard: MemoryGuard

    def until_the_end(self) -> Why:
        """Sleep and collect until the worker's last word or its death, its deadline or limit.

        What it has said already is heard before it is called late or dead: we may have been stopped
        ourselves, or kept from a processor.
        """
        pending = b""
        next_wake = 0.0
        is_dead = False
        while True:
            now = time.monotonic()
            is_late = now >= self.deadline.at
            if not is_late and self.guard.is_passed(now):
                return "over"
            pause = min(self.deadline.at - now, self.guard.pause_s, _WAKE_S)
            ready, _, _ = select.select([self.pipe], [], [], 0 if is_late or is_dead else pause)
            if ready:
                data = os.read(self.pipe, _READ_BYTES)
                *lines, pending = (pending + data).split(b"\n")
                if not data or [line for line in lines if self._hear(line)]:
                    return "done"
            if now >= self.deadline.at:  # also after what was heard just now
                return "late"
            if ready:
                continue
            if is_dead:
                return "done"
            # A descendant may hold the pipe open after the worker is gone.
            is_dead = self.process.poll() is not None
            if self.on_wait is not None and now >= next_wake and not is_dead:
                self.on_wait()
                next_wake = now + _WAKE_S

    def _hear(self, line: bytes) -> bool:
        """Keep one message; whether it is the last one."""
        message = _decode(line)
        self.messages.append(message)
        self.deadline.hear(message)
        self.on_message(message)
        return isinstance(message, Finished | Failed)


def _decode(line: bytes) -> Message:
    """One message; a line that is none (a NaN among the figures, say) is a failure in words."""
    try:
        message: Message = _MESSAGE.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        return Failed(
            kind="crashed",
            reason=f"the worker sent figures that are not numbers: {error}",
            detail=line[:2000].decode("utf-8", errors="replace"),
            peak_rss=MemoryReading(missing="the worker sent what is no message"),
        )
    return message


def _end(process: subprocess.Popen[bytes], *, kill: bool) -> int:
    """Wait for the worker, and leave none of its descendants behind."""
    try:
        returncode = process.wait(timeout=0 if kill else _EXIT_S)
    except subprocess.TimeoutExpired:
        _kill_group(process.pid)
        return process.wait()
    _kill_group(process.pid)
    return returncode


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tail(log: Path, size: int = 4000) -> str:
    """The end of a log; nothing where somebody has removed it meanwhile: the trial counts more."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode("utf-8", errors="replace")
    return ""
