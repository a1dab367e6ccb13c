"""Where the log-probabilities of the exact reference come from.

A cache, a process that computes them, or the small form that travels with results. Has them
computed in a process of its own, before the trial that needs them; no trial fails for want of a
reference: it says why there is none. Knows passages as tokens; nothing of texts or questions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from harness.config.limit_settings import Limits
from harness.errors import CheckpointError, HarnessError, ReferenceUnusable
from harness.measure.conversion import Watch, Weights
from harness.measure.file_cache import CacheUnusable
from harness.measure.job import (
    Job,
    NoNumbers,
    PassageJob,
    ReferenceJob,
    Referred,
    ScoredPassage,
)
from harness.measure.judge import judge
from harness.measure.memory_limit import memory_room
from harness.measure.process import Ended, run_job
from harness.measure.reference_cache import ReferenceCache, WantedRows
from harness.measure.small_forms import SmallForms
from harness.measure.without_folders import folders_here, without_folders
from harness.quality.rows_file import RowsFile
from harness.records.quality import QualityReference
from harness.runtime.checkpoint import read_header
from harness.runtime.converted import NO_SOURCE, Converted

FULL = "exact float32, layer by layer"
SMALL = f"{FULL}: the 64 likeliest tokens and sums"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Where the rows of each passage lie; `missing` says why any is not there."""

    places: Mapping[str, ScoredPassage] = field(default_factory=dict)  # by the passage's key
    reference: QualityReference | None = None
    missing: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Whose reference, and how a process computes it where it is nowhere."""

    weights: Weights
    n_vocab: int
    job: Job  # its engine, with how many threads
    limits: Limits
    log: Path
    watch: Watch


class NotComputed(HarnessError):
    """Why rows were not computed; wherever they were to be kept, they would not have been."""


class References:
    """The references of one run.

    Rows are kept in the first of `caches` that can hold them; `small` is the folder that travels
    with results.
    """

    def __init__(
        self,
        caches: Sequence[ReferenceCache] = (),
        small: Path | None = None,
        *,
        off: str = "references are off",
        run: Callable[..., Ended] = run_job,
    ) -> None:
        self._caches = caches
        self._small = None if small is None else SmallForms(small)
        self._off = off
        self._run = run
        # By the hash of the weights, for the rest of the run:
        self._alone: set[str] = set()  # more than what is needed could not be computed
        self._failed: dict[str, tuple[int, str]] = {}  # not even that: so many rows, and why
        self._sound: set[str] = set()  # keys of passages whose rows were read, and are whole
        self._no_numbers: dict[str, str] = {}  # keys of those that have none, and that in words
        self._told: set[str] = set()

    def close(self) -> None:
        """Let others remove what was read."""
        for cache in self._caches:
            cache.close()

    def of(
        self, model: Model, passages: Sequence[PassageJob], beside: Sequence[PassageJob] = ()
    ) -> Found:
        """The reference's rows of all passages, those that are nowhere computed now.

        Where any has to be, those `beside` are computed with them, since the weights are read once
        for all; where that fails, the passages alone. Raises only `KeyboardInterrupt`, with nothing
        half made left behind.
        """
        if not self._caches:
            return Found(missing=self._off)
        sha256 = source_sha256(model.weights)
        if sha256 is None:
            return Found(missing=why_unknown(model.weights))
        passages = list({one.key: one for one in passages}.values())  # two answers may be one
        both = list({one.key: one for one in (*passages, *beside)}.values())
        places, why, took = self._kept(sha256, both, model), None, None
        left = [one for one in passages if one.key not in places]
        if left:
            more = [one for one in both if one.key not in places and one not in left]
            begin = time.monotonic()
            why = self._made(sha256, left, more, model)
            took = time.monotonic() - begin
            places = self._kept(sha256, both, model)
            left = [one for one in passages if one.key not in places]
        if self._small is not None:
            self._tell(model, self._small.keep(sha256, tuple(places.values()), model.watch.wait))
        if not left:
            full = QualityReference(form="full", weights_sha256=sha256, method=FULL, s=took)
            return Found(places=places, reference=full)
        why = why or "it cannot be read back"
        self._tell(model, f"there is not all of the exact reference: {why}")
        travelled = {} if self._small is None else self._small.of(sha256, left)
        places = {**travelled, **places}
        is_small = any(one.small for one in places.values())
        return Found(
            places=places,
            reference=QualityReference(
                form="small" if is_small else "full",
                weights_sha256=sha256,
                method=SMALL if is_small else FULL,
            )
            if places
            else None,
            missing=why if any(one.key not in places for one in left) else None,
        )

    def _kept(
        self, sha256: str, passages: Sequence[PassageJob], model: Model
    ) -> dict[str, ScoredPassage]:
        """What is there in full."""
        wanted = {one.key: one for one in passages}
        places: dict[str, ScoredPassage] = {}
        for cache in self._caches:
            with suppress(OSError):
                for rows in cache.of(sha256, wanted):
                    found = [
                        key
                        for key in sorted(rows.keys & wanted.keys())
                        if rows.has(key, wanted[key].n_rows, model.n_vocab)
                    ]
                    if not self._are_sound(rows, found, model.watch):
                        cache.remove(rows.path)  # it is computed again
                        continue
                    for key in found:
                        places[key] = ScoredPassage(passage=wanted[key], file=str(rows.path))
        return places

    def _are_sound(self, rows: RowsFile, keys: Sequence[str], watch: Watch) -> bool:
        """Whether no row is damaged; looked at once in a run."""
        try:
            for key in keys:
                if key not in self._sound:
                    rows.rows(key).check(watch.wait)
        except ReferenceUnusable:
            return False
        self._sound.update(keys)
        return True

    def _made(
        self, sha256: str, needed: list[PassageJob], more: list[PassageJob], model: Model
    ) -> str | None:
        """Why the rows could not be computed and kept; None where they were."""
        if is_converted(model.weights):
            return "it is computed from the original weights, and these are converted ones"
        n_rows = sum(one.n_rows for one in needed)
        failed, why = self._failed.get(sha256, (None, None))
        if failed is not None and 2 * n_rows > failed:  # as much again would fail again
            return why
        if more and sha256 not in self._alone:
            try:
                self._compute([*needed, *more], sha256, model)
            except HarnessError:
                self._alone.add(sha256)
            else:
                return None
        why = self._why_no_numbers(needed)
        if why is None:
            try:
                self._compute(needed, sha256, model)
            except HarnessError as problem:
                why = str(problem)
            else:
                return None
        self._failed[sha256] = (n_rows, why)
        return why

    def _why_no_numbers(self, passages: Sequence[PassageJob]) -> str | None:
        """What the weights are wrong with; with fewer passages they would not be mended."""
        found = (self._no_numbers[one.key] for one in passages if one.key in self._no_numbers)
        return next(found, None)

    def _compute(self, passages: Sequence[PassageJob], sha256: str, model: Model) -> None:
        """Have the rows computed, and kept where they can be.

        Raises `NotComputed`, or `CacheUnusable` where they can be kept nowhere.
        """
        wanted = WantedRows(weights_sha256=sha256, passages=tuple(passages), n_vocab=model.n_vocab)
        whys: list[str] = []
        with ExitStack() as making:
            for cache in self._caches:
                try:
                    out = making.enter_context(self._making(cache, wanted, model))
                    break
                except CacheUnusable as problem:
                    whys.append(str(problem))
            else:
                raise CacheUnusable("; ".join(whys))
            if whys:
                why = "; ".join(whys)
                self._tell(model, f"The exact reference is computed for this run alone: {why}")
            if out is not None:
                self._run_into(out, wanted, model)
                cache.use(wanted)  # before another run could remove what nobody holds

    @contextmanager
    def _making(
        self, cache: ReferenceCache, wanted: WantedRows, model: Model
    ) -> Iterator[Path | None]:
        """Where to write the rows; None where another process made them meanwhile.

        Raises `CacheUnusable`.
        """
        with ExitStack() as lock:
            try:
                waiting = self._waiting(model)
                out = lock.enter_context(cache.making(wanted, waiting, model.limits.trial_s))
                is_made = cache.use(wanted) is not None
                if not is_made:
                    cache.make_room(wanted.nbytes)
            except OSError as error:
                raise CacheUnusable(f"the cache cannot be used ({error.strerror})") from error
            yield None if is_made else out

    def _run_into(self, out: Path, wanted: WantedRows, model: Model) -> None:
        """Have a process write the rows. Raises `NotComputed` with the reason."""
        watch, limits = model.watch, model.limits
        watch.message(Referred(done=0, total=0))
        try:
            ended = self._run(
                structs.replace(
                    model.job,
                    speed=None,
                    depth=None,
                    answers=None,
                    questions=[],
                    scoring=None,
                    gate=None,
                    reference=ReferenceJob(
                        out=str(out),
                        weights_sha256=wanted.weights_sha256,
                        passages=list(wanted.passages),
                    ),
                ),
                deadline_s=limits.trial_s,
                renewed_by=Referred,  # one more layer: slow is not stuck
                room=memory_room(limits),
                log=model.log,
                on_message=watch.message,
                on_wait=watch.wait,
            )
        except OSError as error:
            raise NotComputed(f"no process to compute it: {error.strerror}") from error
        if ended.timed_out_s is not None:
            raise NotComputed(
                f"it could not be computed: no layer was done within {ended.timed_out_s:g} s "
                "(limits.trial_s)"
            )
        outcome = judge(ended, None)
        if outcome.kind != "ok":
            here = folders_here([out, model.weights.path])
            why = without_folders(outcome.reason or outcome.kind, here)
            why = f"it could not be computed: {why}"
            lost = [one.passage for one in ended.messages if isinstance(one, NoNumbers)]
            self._no_numbers.update(dict.fromkeys(lost, why))
            raise NotComputed(why)

    def _waiting(self, model: Model) -> Callable[[], None]:
        def wait() -> None:
            self._tell(model, "Another process computes the same reference; waiting for it")
            if model.watch.wait is not None:
                model.watch.wait()

        return wait

    def _tell(self, model: Model, words: str | None) -> None:
        """Say something, once in a run."""
        if words is not None and words not in self._told:
            self._told.add(words)
            model.watch.note(words)


def source_sha256(weights: Weights) -> str | None:
    """The hash of the original weights, also where there is only what was converted of them."""
    converted = _converted(weights)
    return weights.sha256() if converted is None else converted.source_sha256


def why_unknown(weights: Weights) -> str:
    """Why there is no such hash."""
    return NO_SOURCE if is_converted(weights) else "the content of the weights is not known"


def is_converted(weights: Weights) -> bool:
    """Whether the weights are what others were converted to."""
    return _converted(weights) is not None


def _converted(weights: Weights) -> Converted | None:
    if isinstance(weights.path, Path):
        with suppress(CheckpointError):
            return read_header(weights.path).converted
    return None
