"""Where the log-probabilities of the exact reference come from.

The cache, a process that computes them, or the small form that travels with results. Has them
computed in a process of its own, before the trial that needs them; no trial fails for want of a
reference: it says why there is none. Knows passages as tokens; nothing of texts or questions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from harness.config.limit_settings import Limits
from harness.errors import CheckpointError
from harness.measure.conversion import Watch, Weights
from harness.measure.file_cache import CacheUnusable
from harness.measure.job import Job, PassageJob, ReferenceJob, Referred, ScoredPassage
from harness.measure.judge import judge
from harness.measure.memory_limit import memory_room
from harness.measure.process import Ended, run_job
from harness.measure.reference_cache import ReferenceCache, WantedRows
from harness.measure.small_forms import SmallForms
from harness.measure.without_folders import folders_here, without_folders
from harness.records.quality import QualityReference
from harness.runtime.checkpoint import read_header
from harness.runtime.converted import Converted

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


class References:
    """The references of one run. `small` is the folder that travels with results."""

    def __init__(
        self,
        cache: ReferenceCache | None = None,
        small: Path | None = None,
        *,
        off: str = "references are off",
        run: Callable[..., Ended] = run_job,
    ) -> None:
        self._cache = cache
        self._small = None if small is None else SmallForms(small)
        self._off = off
        self._run = run
        self._failed: dict[str, str] = {}  # by what was to be computed; not tried again
        self._told: set[str] = set()

    def close(self) -> None:
        """Let others remove what was read."""
        if self._cache is not None:
            self._cache.close()

    def of(self, model: Model, passages: Sequence[PassageJob]) -> Found:
        """The reference's rows of all passages, those that are nowhere computed now.

        Raises only `KeyboardInterrupt`, with nothing half made left behind.
        """
        if self._cache is None:
            return Found(missing=self._off)
        sha256 = source_sha256(model.weights)
        if sha256 is None:
            return Found(missing="the content of the weights is not known")
        places, why, took = self._kept(self._cache, sha256, passages, model), None, None
        left = tuple(one for one in passages if one.key not in places)
        if left:
            wanted = WantedRows(weights_sha256=sha256, passages=left, n_vocab=model.n_vocab)
            begin = time.monotonic()
            why = self._made(self._cache, wanted, model)
            took = time.monotonic() - begin
            places = self._kept(self._cache, sha256, passages, model)
            left = tuple(one for one in passages if one.key not in places)
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
            missing=why if len(places) < len(passages) else None,
        )

    def _kept(
        self, cache: ReferenceCache, sha256: str, passages: Sequence[PassageJob], model: Model
    ) -> dict[str, ScoredPassage]:
        """What the cache has in full."""
        wanted = {one.key: one for one in passages}
        places: dict[str, ScoredPassage] = {}
        with suppress(OSError):
            for rows in cache.of(sha256, wanted):
                for key in rows.keys & wanted.keys():
                    if rows.has(key, wanted[key].n_rows, model.n_vocab):
                        places[key] = ScoredPassage(passage=wanted[key], file=str(rows.path))
        return places

    def _made(self, cache: ReferenceCache, wanted: WantedRows, model: Model) -> str | None:
        """Why the rows could not be computed and kept; None where they were."""
        if is_converted(model.weights):
            return "it is computed from the original weights, and these are converted ones"
        why = self._failed.get(wanted.name)
        if why is None:
            try:
                self._compute(cache, wanted, model)
            except CacheUnusable as problem:
                why = self._failed[wanted.name] = str(problem)
            except OSError as error:
                why = self._failed[wanted.name] = f"the cache cannot be used ({error.strerror})"
        return why

    def _compute(self, cache: ReferenceCache, wanted: WantedRows, model: Model) -> None:
        """Have the rows computed and kept. Raises `CacheUnusable` with the reason, or `OSError`."""
        watch, limits = model.watch, model.limits
        with cache.making(wanted, self._waiting(model), limits.trial_s) as out:
            if cache.use(wanted) is not None:  # another process made it while this one waited
                return
            cache.make_room(wanted.nbytes)
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
                    room=memory_room(limits),
                    log=model.log,
                    on_message=watch.message,
                    on_wait=watch.wait,
                )
            except OSError as error:
                raise CacheUnusable(f"no process to compute it: {error.strerror}") from error
            outcome = judge(ended, None)
            if outcome.kind != "ok":
                here = folders_here([out, model.weights.path])
                why = without_folders(outcome.reason or outcome.kind, here)
                raise CacheUnusable(f"it could not be computed: {why}")

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


def is_converted(weights: Weights) -> bool:
    """Whether the weights are what others were converted to."""
    return _converted(weights) is not None


def _converted(weights: Weights) -> Converted | None:
    if isinstance(weights.path, Path):
        with suppress(CheckpointError):
            return read_header(weights.path).converted
    return None
