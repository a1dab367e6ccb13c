"""Which file a trial reads: the original weights, or what they were converted to, once.

Decides where converting pays, has it done in a process of its own, and falls back to the original
weights, which are then quantised as they are loaded: no trial fails for want of a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import structs

from harness.config.engines import TORCH
from harness.config.limit_settings import Limits
from harness.errors import CheckpointError, StrategyError
from harness.measure.conversion_cache import ConvertedCache, Wanted
from harness.measure.file_cache import CacheUnusable
from harness.measure.job import Conversion, Converted, Finished, Job, Message, Written
from harness.measure.judge import judge
from harness.measure.memory_limit import memory_room
from harness.measure.process import Ended, run_job
from harness.plan.original import look_at, stored_bytes, why_original
from harness.records.record import ConvertedFile
from harness.runtime.stored import stored_plan

CONVERTER = "1"  # to be raised when the same weights give other stored numbers than before


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Original weights, and what their content is known by."""

    path: Path | str  # a file, or `random:SIZE`
    seed: int  # of random ones
    sha256: Callable[[], str | None]  # asked for only where it is needed: it may read the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a trial reads, and what its record says of that."""

    weights: Path | str
    converted: ConvertedFile | None = None
    missing: str | None = None  # why the original is read
    warning: str | None = None  # that something kept it from the converted one


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Who hears of a conversion: its messages, a call about once a second, and notes in words."""

    message: Callable[[Message], None] = lambda _: None
    wait: Callable[[], None] | None = None
    note: Callable[[str], None] = lambda _: None


class Conversions:
    """Which weights the trials of one run read. `cache` is None where none is to be used."""

    def __init__(self, cache: ConvertedCache | None, why_off: str = "the cache is off") -> None:
        self._cache = cache
        self._why_off = why_off
        self._failed: dict[str, str] = {}  # by file; not tried again in this run

    def reading(
        self, weights: Weights, job: Job, *, limits: Limits, log: Path, watch: Watch
    ) -> Reading:
        """What a trial under the engine, strategy and threads of `job` should read.

        Converts the weights where that pays and nobody did, within the limits of a trial. What the
        converting process prints goes to `log`. Raises only `KeyboardInterrupt`, with nothing half
        made left behind.
        """
        wanted = self.wanted(weights, job)
        if self._cache is None or isinstance(wanted, str):
            why = wanted if isinstance(wanted, str) else self._why_off
            return Reading(weights=weights.path, missing=f"read from the original: {why}")
        if wanted.name not in self._failed:
            making = _Making(self._cache, wanted, job, limits, log, watch)
            try:
                path, converted = making.file()
            except CacheUnusable as problem:
                # A trial for each would tell it again, and take as long to find it out.
                self._failed[wanted.name] = str(problem)
                watch.note(f"the original weights are read instead: {problem}")
            else:
                return Reading(weights=path, converted=converted)
        why = f"read from the original: {self._failed[wanted.name]}"
        return Reading(weights=weights.path, missing=why, warning=why)

    def close(self) -> None:
        """Let others remove what was read."""
        if self._cache is not None:
            self._cache.close()

    def wanted(self, weights: Weights, job: Job) -> Wanted | str:
        """The converted file to read in place of the original, or why the original is read."""
        if self._cache is None:
            return self._why_off
        if job.engine != TORCH:
            return f"the {job.engine} engine reads no other"
        try:
            original = look_at(weights.path)
            plan = stored_plan(job.strategy, original.shape.n_layer)
        except (CheckpointError, StrategyError, OSError):
            return "it cannot be converted"  # the trial will say what is wrong with it
        why = why_original(original, plan)
        if why is not None:
            return why
        sha256 = weights.sha256()
        if sha256 is None:
            return "its content is not known"
        return Wanted(
            source_sha256=sha256,
            plan=plan,
            tensor_bytes=stored_bytes(original.shape, plan),
            converter=converter(),
        )


@dataclass(frozen=True)
class _Making:
    """One converted file: found, waited for, or made."""

    cache: ConvertedCache
    wanted: Wanted
    job: Job
    limits: Limits
    log: Path
    watch: Watch

    def file(self) -> tuple[Path, ConvertedFile]:
        """The file and its name for records. Raises `CacheUnusable`."""
        path = self.cache.use(self.wanted)
        if path is not None:
            return path, self._as_recorded(path)
        with self.cache.making(self.wanted, self._wait(), self.limits.trial_s) as out:
            path = self.cache.use(self.wanted)
            if path is not None:  # another process made it while this one waited
                return path, self._as_recorded(path)
            self.cache.make_room(self.wanted.nbytes)
            ended = self._convert(out)
            path = self.cache.use(self.wanted)
        if path is None:
            raise CacheUnusable("the converted file cannot be read back")
        return path, structs.replace(self._as_recorded(path), made_now=True, **_cost(ended))

    def _wait(self) -> Callable[[], None]:
        told = False

        def wait() -> None:
            nonlocal told
            if not told:
                self.watch.note("Another process converts the same weights; waiting for it")
            told = True
            if self.watch.wait is not None:
                self.watch.wait()

        return wait

    def _convert(self, out: Path) -> Ended:
        self._hear(Written(done_bytes=0, total_bytes=self.wanted.tensor_bytes))
        job = structs.replace(
            self.job,
            speed=None,
            answers=None,
            questions=[],
            conversion=Conversion(out=str(out), source_sha256=self.wanted.source_sha256),
        )
        try:
            ended = run_job(
                job,
                deadline_s=self.limits.trial_s,
                room=memory_room(self.limits),
                log=self.log,
                on_message=self._hear,
                on_wait=self.watch.wait,
            )
        except OSError as error:
            raise CacheUnusable(f"no process to convert them: {error.strerror}") from error
        outcome = judge(ended, None)
        if outcome.kind != "ok":
            why = (outcome.reason or outcome.kind).replace(f"{out.parent}/", "")
            raise CacheUnusable(f"they could not be converted: {why}")
        return ended

    def _hear(self, message: Message) -> None:
        if isinstance(message, Written | Converted):
            self.watch.message(message)

    def _as_recorded(self, path: Path) -> ConvertedFile:
        return ConvertedFile(
            file=path.name,
            source_sha256=self.wanted.source_sha256,
            plan=self.wanted.plan.key,
            bytes=path.stat().st_size,
            made_now=False,
        )


def converter() -> str:
    """What converts here, as far as the numbers hang on it; part of a converted file's name."""
    try:
        return f"{CONVERTER} torch {version('torch')}"
    except PackageNotFoundError:
        return CONVERTER


def _cost(ended: Ended) -> dict[str, float | int | None]:
    """What a conversion took, in the words of a record."""
    took = next((m.convert_s for m in ended.messages if isinstance(m, Converted)), None)
    last = next((m for m in ended.messages if isinstance(m, Finished)), None)
    return {
        "convert_s": took,
        "convert_peak_rss_bytes": None if last is None else last.peak_rss.bytes,
    }
