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
from harness.machine.disks import NAMES as DISK_FACTS
from harness.machine.disks import weights_disk_facts
from harness.machine.facts import unavailable
from harness.machine.quiet import Probes
from harness.measure.conversion import Conversions, Reading, Watch, Weights
from harness.measure.cooldown import Cooler
from harness.measure.energy import Baseline, energy_of
from harness.measure.identity import ModelIdentity, record_key
from harness.measure.job import Answered, Job, Message, Opened, Passed
from harness.measure.judge import judge, limits_held, remarks
from harness.measure.latency import latency_of
from harness.measure.memory_limit import memory_room
from harness.measure.memory_record import NOT_SO_FAR, forecast_of, memory_of
from harness.measure.process import Interrupted, run_job
from harness.measure.quality_inputs import Prepared, QualityInputs, gate_of, quality_of
from harness.measure.quality_inputs import Wanted as WantedQuality
from harness.measure.rates import decode_speed, prefill_speed
from harness.measure.roofline import Limits
from harness.measure.roofline_share import Timed, trial_roofline
from harness.measure.trial_facts import facts_of, hashes, thread_warning
from harness.measure.watching import cuda_devices_of, judged_quiet, watch
from harness.measure.without_folders import folders_here, without_folders
from harness.plan.cell import Cell, Forecasts
from harness.records.limits import TrialLimits
from harness.records.order import Cooling, Place
from harness.records.record import Answer, CellRef, Outcome, Record
from harness.records.validity import Validity
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
        return _record(trial, bench, started, _Ran(outcome=skipped))
    if trial.wrong_reason is not None:
        wrong = Outcome(kind="wrong_answers", reason=trial.wrong_reason)
        return _record(trial, bench, started, _Ran(outcome=wrong))
    reading: Reading | None = None
    cooling: Cooling | None = None
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
            none = Outcome(kind="unsupported", reason=prepared.missing.get("text"))
            return _record(trial, bench, started, _Ran(outcome=none, prepared=prepared))
        reading = _reading(trial, bench, job, heard)
        gpus = cuda_devices_of(bench.plans[trial.cell])
        cooling = bench.cooler.wait(on_cooling, gpus=gpus)
        watcher = watch(noise, bench.probes, gpus=gpus)
        started, begin = datetime.now(timezone.utc), time.monotonic()
        ended = run_job(
            structs.replace(job, weights=str(reading.weights)),
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
        ran = _Ran(
            outcome=outcome, reading=reading, messages=messages, cooling=cooling, limits=limits
        )
        raise InterruptedTrial(_record(trial, bench, started, ran)) from stop
    validity = watcher.validity(noise)
    outcome = judge(ended, bench.plans[trial.cell])
    ran = _Ran(
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
    return _record(trial, bench, started, ran)


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
        prompt=files.prompt,
        batch=cell.batch,
        speed=workloads.speed if cell.workload == "speed" else None,
        depth=workloads.depth if cell.workload == "depth" else None,
        answers=workloads.answers if answering else None,
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


@dataclass(frozen=True, kw_only=True)
class _Ran:
    """What became of a trial."""

    outcome: Outcome
    reading: Reading | None = None  # None where it did not come so far
    validity: Validity | None = None
    limits: TrialLimits | None = None
    messages: tuple[Message, ...] = ()
    cooling: Cooling | None = None
    warnings: tuple[str, ...] = ()
    prepared: Prepared | None = None
    took_s: float | None = None


def _record(trial: Trial, bench: Bench, started: datetime, ran: _Ran) -> Record:
    cell, messages = trial.cell, ran.messages
    facts = facts_of(bench.machine_facts, messages, cell.engine)
    opened = next((m for m in messages if isinstance(m, Opened)), None)
    passes = [m for m in messages if isinstance(m, Passed)]
    plan = [] if opened is None else opened.plan
    identity = bench.models[cell.model]
    prefill = [one for p in passes for one in p.prefill]
    decode_s = [p.decode_s for p in passes]
    files = bench.loaded.files[cell.model]
    here = folders_here(
        (
            files.weights,
            files.tokenizer,
            None if ran.reading is None else ran.reading.weights,
            bench.logs,
        )
    )
    return Record(
        key=record_key(bench.loaded, cell, identity, bench.plans[cell], plan),
        cell=cell_ref(cell),
        trial=trial.trial,
        attempt=trial.attempt,
        place=trial.place,
        cooling=ran.cooling,
        outcome=_nameless(ran.outcome, here),
        started_at=started.isoformat(timespec="seconds"),
        load_s=None if opened is None else opened.load_s,
        prefill=prefill,
        decode_s=decode_s,
        prefill_tok_per_s=prefill_speed(prefill, cell.batch),
        decode_tok_per_s=decode_speed(decode_s, cell.batch),
        latency=latency_of(messages, cell.workload),
        memory=memory_of(
            messages, forecast_of(bench.forecasts.get(cell), ran.reading), cell.workload
        ),
        limits=ran.limits,
        validity=ran.validity,
        took_s=ran.took_s,
        gate=gate_of(messages, ran.prepared),
        quality=quality_of(messages, ran.prepared) if cell.workload == "quality" else None,
        answers=[m.answer for m in messages if isinstance(m, Answered)],
        plan=plan,
        converted=None if ran.reading is None else ran.reading.converted,
        converted_missing=NOT_SO_FAR if ran.reading is None else ran.reading.missing,
        batch=cell.batch,
        roofline=trial_roofline(
            cell.workload,
            plan,
            bench.shapes.get(cell.model),
            Timed(batch=cell.batch, prefill=prefill, decode_s=decode_s),
            bench.machine_limits.of(cell.threads),
        ),
        energy=energy_of(messages, cell.batch, bench.idle),
        facts={
            **facts,
            "threads": cell.threads,
            **hashes(
                weights_sha256=identity.weights_sha256,
                tokenizer_sha256=identity.tokenizer_sha256,
                questions_sha256=bench.loaded.questions_sha256,
                study_sha256=bench.loaded.sha256,
            ),
            **_disk_facts(ran.reading),
        },
        warnings=[
            without_folders(one, here)
            for one in (
                *([] if opened is None else opened.warnings),
                *filter(None, [thread_warning(cell.threads, facts)]),
                *ran.warnings,
            )
        ],
    )


def _disk_facts(reading: Reading | None) -> dict[str, Any]:
    """Of the file that was read, which may be a converted one elsewhere."""
    if reading is None:
        return dict.fromkeys(DISK_FACTS, unavailable(NOT_SO_FAR))
    return weights_disk_facts(Path(reading.weights))


def cell_ref(cell: Cell) -> CellRef:
    """The cell, as its records name it."""
    return CellRef(
        id=cell.id,
        model=cell.model,
        engine=cell.engine,
        strategy=cell.strategy,
        workload=cell.workload,
        threads=cell.threads,
        batch=cell.batch,
    )


def _nameless(outcome: Outcome, here: Mapping[str, str]) -> Outcome:
    """The outcome without the folders of this machine in its words."""
    words = {"reason": outcome.reason, "detail": outcome.detail}
    return structs.replace(
        outcome,
        **{k: None if text is None else without_folders(text, here) for k, text in words.items()},
    )
