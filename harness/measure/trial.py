"""One trial: a job for a worker, and the record of what it left behind."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from msgspec import structs

from harness.config.load import LoadedStudy
from harness.machine.quiet import Probes
from harness.measure.conversion import Conversions, Reading, Watch, Weights
from harness.measure.cooldown import Cooler
from harness.measure.energy import Baseline
from harness.measure.identity import ModelIdentity
from harness.measure.job import Job, Message
from harness.measure.judge import judge, limits_held, remarks
from harness.measure.memory_limit import memory_room
from harness.measure.process import Interrupted, run_job
from harness.measure.quality_inputs import Prepared, QualityInputs
from harness.measure.quality_inputs import Wanted as WantedQuality
from harness.measure.roofline import Limits
from harness.measure.trial_record import Ran, record_of
from harness.measure.watching import cuda_devices_of, judged_quiet, watch
from harness.plan.cell import Cell, Forecasts
from harness.records.limits import TrialLimits
from harness.records.order import Cooling, Place
from harness.records.record import Answer, Outcome, Record
from harness.records.writing import unwritable
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import LayerPlan
from harness.sizes import parse_size


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One attempt at one measurement of one cell."""

    cell: Cell
    trial: int
    attempt: int
    skip_reason: str | None = None  # given: nothing is run, the record says why
    wrong_reason: str | None = None  # likewise, of a strategy that was found to be wrong
    is_gated: bool = False  # the first tokens are held against the reference, before all else
    answers: tuple[Answer, ...] = ()  # of the quality workload: those that are scored
    beside: tuple[Answer, ...] = ()  # those of the model's other cells
    place: Place | None = None  # in the run's order; None: it was not scheduled


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trials of a run share."""

    loaded: LoadedStudy
    machine_facts: Mapping[str, Any]
    models: Mapping[str, ModelIdentity]
    plans: Mapping[Cell, tuple[LayerPlan, ...] | None]  # resolved; None where layers are unknown
    logs: Path  # folder
    conversions: Conversions = field(default_factory=lambda: Conversions(None))
    quality: QualityInputs | None = None  # None: no trial is held against a reference
    forecasts: Mapping[Cell, Forecasts | None] = field(default_factory=dict)
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)  # by model, where it is known
    machine_limits: Limits = field(default_factory=Limits)
    idle: Baseline = field(default_factory=Baseline)  # of energy
    probes: Probes = field(default_factory=Probes)  # of what disturbs a trial
    cooler: Cooler = field(default_factory=Cooler)


def measure(
    trial: Trial,
    bench: Bench,
    *,
    on_message: Callable[[Message], None] = lambda _: None,
    on_wait: Callable[[], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
    on_cooling: Callable[[str], None] = lambda _: None,
) -> Record:
    """Run one trial and return its record, whatever happens to the worker.

    Before it begins, the cell's weights are converted, where that pays and nobody did, and the
    machine cools down, where the study asks for it. Raises
    `InterruptedTrial`, which carries the record, on Ctrl-C.
    """
    started = datetime.now(timezone.utc)
    if trial.skip_reason is not None:
        skipped = Outcome(kind="skipped", reason=trial.skip_reason)
        return record_of(trial, bench, started, Ran(outcome=skipped))
    if trial.wrong_reason is not None:
        wrong = Outcome(kind="wrong_answers", reason=trial.wrong_reason)
        return record_of(trial, bench, started, Ran(outcome=wrong))
    reading: Reading | None = None
    cooling: Cooling | None = None
    prepared: Prepared | None = None
    noise = bench.loaded.study.noise
    log = bench.logs / _log_name(trial)
    try:
        _touch(log)
        job = _job(trial.cell, bench.loaded)
        if trial.cell.workload == "speed":
            if bench.plans[trial.cell] is not None:
                bench.idle.watch(on_note)  # before anything has warmed the machine up
            bench.machine_limits.before(trial.cell.threads, on_note=on_note, on_wait=on_wait)
        heard = Watch(message=on_message, wait=on_wait, note=on_note)
        prepared = _prepared(trial, bench, job, heard)
        job = prepared.job
        if trial.cell.workload == "quality" and job.scoring is None:
            # Tried again when the run goes on: what is in the way may be gone by then.
            none = Outcome(kind="skipped", reason=prepared.missing.get("text"))
            return record_of(trial, bench, started, Ran(outcome=none, prepared=prepared))
        reading = _reading(trial, bench, job, heard)
        gpus = cuda_devices_of(bench.plans[trial.cell])
        cooling = bench.cooler.wait(on_cooling, gpus=gpus)
        watcher = watch(noise, bench.probes, gpus=gpus)
        started, begin = datetime.now(timezone.utc), time.monotonic()
        from_cache = reading.converted is not None
        ended = run_job(
            structs.replace(job, weights=str(reading.weights), from_cache=from_cache),
            deadline_s=bench.loaded.study.limits.trial_s,
            log=log,
            on_message=watcher.hearing(on_message),
            on_wait=watcher.waking(on_wait),
            watcher=watcher,
            room=memory_room(bench.loaded.study.limits),
        )
    except KeyboardInterrupt as stop:
        outcome = Outcome(kind="interrupted", reason="stopped by the user")
        messages: tuple[Message, ...] = ()
        limits: TrialLimits | None = None
        if reading is not None and isinstance(stop, Interrupted):  # else a conversion was stopped
            messages, limits = stop.ended.messages, limits_held(stop.ended, job)
        ran = Ran(
            outcome=outcome,
            reading=reading,
            messages=messages,
            cooling=cooling,
            limits=limits,
            prepared=prepared,
        )
        raise InterruptedTrial(record_of(trial, bench, started, ran)) from stop
    validity = watcher.validity(noise)
    outcome = judge(ended, bench.plans[trial.cell])
    ran = Ran(
        outcome=judged_quiet(outcome, validity, trial.cell.workload),
        validity=validity,
        reading=reading,
        messages=ended.messages,
        cooling=bench.cooler.after(cooling),
        limits=limits_held(ended, job),
        warnings=tuple(filter(None, (reading.warning, *remarks(ended, job)))),
        prepared=prepared,
        took_s=time.monotonic() - begin,
    )
    return record_of(trial, bench, started, ran)


class InterruptedTrial(KeyboardInterrupt):
    """Ctrl-C during a trial; `record` keeps what it had measured."""

    def __init__(self, record: Record) -> None:
        super().__init__("interrupted")
        self.record = record


def _job(cell: Cell, loaded: LoadedStudy) -> Job:
    files = loaded.files[cell.model]
    workloads = loaded.study.workloads
    answering = cell.workload == "answers"
    return Job(
        engine=cell.engine,
        strategy=cell.strategy,
        weights=str(files.weights),
        weights_seed=loaded.study.models[cell.model].seed,
        threads=cell.threads,
        seed=loaded.study.seed,
        tokenizer=None if files.tokenizer is None else str(files.tokenizer),
        prompt=loaded.study.models[cell.model].prompt_of(cell.prompt),
        batch=cell.batch,
        speed=workloads.speed if cell.workload == "speed" else None,
        depth=workloads.depth if cell.workload == "depth" else None,
        answers=workloads.answers.under(cell.sampling)
        if answering and workloads.answers is not None
        else None,
        questions=list(loaded.questions) if answering else [],
        question_s=loaded.study.limits.question_s if answering else None,
        address_space_bytes=parse_size(loaded.study.limits.address_space or ""),
    )


def _prepared(trial: Trial, bench: Bench, job: Job, watch: Watch) -> Prepared:
    scores = trial.cell.workload == "quality"
    if bench.quality is None or not (scores or trial.is_gated):
        return Prepared(job=job)
    wanted = WantedQuality(
        cell=trial.cell,
        job=job,
        weights=_weights(trial, bench, job),
        log=bench.logs / f"reference-for-{_log_name(trial)}",
        watch=watch,
    )
    return bench.quality.prepare(
        wanted,
        is_gated=trial.is_gated,
        answers=trial.answers if scores else None,
        beside=trial.beside,
    )


def _weights(trial: Trial, bench: Bench, job: Job) -> Weights:
    model = trial.cell.model
    return Weights(
        path=bench.loaded.files[model].weights,
        seed=job.weights_seed,
        sha256=lambda: bench.models[model].weights_sha256,
    )


def _reading(trial: Trial, bench: Bench, job: Job, watch: Watch) -> Reading:
    """The file that the trial reads; its record has the key of the original weights either way."""
    return bench.conversions.reading(
        _weights(trial, bench, job),
        job,
        limits=bench.loaded.study.limits,
        log=bench.logs / f"converting-for-{_log_name(trial)}",
        watch=watch,
    )


def _touch(log: Path) -> None:
    try:
        log.touch()
    except OSError as error:
        raise unwritable(log, error) from error


def _log_name(trial: Trial) -> str:
    """A file name with what people look for, and a hash for what had to be left out of it."""
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in "-." else "_" for c in trial.cell.id)
    digest = hashlib.sha256(trial.cell.id.encode("utf-8")).hexdigest()[:8]
    return f"{plain[:120]}-{digest}-{trial.trial}-{trial.attempt}.log"
