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
from harness.errors import CheckpointError, HarnessError
from harness.measure.conversion import Watch, Weights
from harness.measure.file_cache import CacheUnusable
from harness.measure.job import Job, PassageJob, ReferenceJob, Referred, ScoredPassage
from harness.measure.judge import judge
from harness.measure.memory_limit import memory_room
from harness.measure.process import Ended, run_job
from harness.measure.reference_cache import ReferenceCache, WantedRows, name_of
from harness.quality.small_form_file import SMALL_SUFFIX, read_small_forms
from harness.records.quality import QualityReference
from harness.runtime.checkpoint import read_header

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
        self._small = small
        self._off = off
        self._run = run
        self._failed: dict[str, str] = {}  # by what was to be computed; not tried again

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
        places, why, took = self._kept(sha256, passages), None, None
        left = tuple(one for one in passages if one.key not in places)
        if left:
            begin = time.monotonic()
            wanted = WantedRows(weights_sha256=sha256, passages=left, n_vocab=model.n_vocab)
            why = self._failed.get(wanted.name)
            if why is None:
                try:
                    self._compute(self._cache, wanted, model)
                    took = time.monotonic() - begin
                except CacheUnusable as problem:
                    why = self._failed[wanted.name] = str(problem)
            places = self._kept(sha256, passages)
            left = tuple(one for one in passages if one.key not in places)
        if not left:
            full = QualityReference(form="full", weights_sha256=sha256, method=FULL, s=took)
            return Found(places=places, reference=full)
        places = {**self._travelled(sha256, left), **places}
        if any(one.key not in places for one in passages):
            return Found(places=places, missing=why or "it cannot be read back")
        if why is not None:
            model.watch.note(f"the small form of the reference is used: {why}")
        small = QualityReference(form="small", weights_sha256=sha256, method=SMALL)
        return Found(places=places, reference=small)

    def _kept(self, sha256: str, passages: Sequence[PassageJob]) -> dict[str, ScoredPassage]:
        """What the cache has in full."""
        assert self._cache is not None
        wanted = {one.key: one for one in passages}
        places: dict[str, ScoredPassage] = {}
        with suppress(CacheUnusable, HarnessError):
            for rows in self._cache.of(sha256):
                for key in rows.keys & wanted.keys():
                    places[key] = ScoredPassage(passage=wanted[key], file=str(rows.path))
        return places

    def _travelled(self, sha256: str, passages: Sequence[PassageJob]) -> dict[str, ScoredPassage]:
        """What came with results, in its small form."""
        places: dict[str, ScoredPassage] = {}
        wanted = {one.key: one for one in passages}
        folder = self._small
        found = [] if folder is None else sorted(folder.glob(f"{sha256[:16]}-*{SMALL_SUFFIX}"))
        for path in found:
            with suppress(HarnessError):  # a damaged file is as good as none
                for key in read_small_forms(path).keys() & wanted.keys():
                    places[key] = ScoredPassage(passage=wanted[key], file=str(path), small=True)
        return places

    def _compute(self, cache: ReferenceCache, wanted: WantedRows, model: Model) -> None:
        """Have the rows computed and kept. Raises `CacheUnusable` with the reason."""
        watch, limits = model.watch, model.limits
        with cache.making(wanted, watch.wait or (lambda: None), limits.trial_s) as out:
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
                            small=self._small_path(wanted),
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
                why = (outcome.reason or outcome.kind).replace(f"{out.parent}/", "")
                raise CacheUnusable(f"it could not be computed: {why}")

    def _small_path(self, wanted: WantedRows) -> str | None:
        if self._small is None:
            return None
        name = name_of(wanted.weights_sha256, wanted.passages)
        return str(self._small / f"{name}{SMALL_SUFFIX}")


def source_sha256(weights: Weights) -> str | None:
    """The hash of the original weights, also where there is only what was converted of them."""
    if isinstance(weights.path, Path):
        with suppress(CheckpointError):
            converted = read_header(weights.path).converted
            if converted is not None:
                return converted.source_sha256
    return weights.sha256()
