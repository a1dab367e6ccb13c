"""What a trial left behind, put together into its record. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from harness.machine.disks import NAMES as DISK_FACTS
from harness.machine.disks import weights_disk_facts
from harness.machine.facts import unavailable
from harness.measure.conversion import Reading
from harness.measure.energy import energy_of
from harness.measure.identity import record_key
from harness.measure.job import Answered, Message, Opened, Passed
from harness.measure.latency import latency_of
from harness.measure.memory_record import NOT_SO_FAR, forecast_of, memory_of
from harness.measure.quality_inputs import Prepared, gate_of, quality_of
from harness.measure.rates import decode_speed, prefill_speed
from harness.measure.roofline_share import Timed, trial_roofline
from harness.measure.trial_facts import facts_of, hashes, thread_warning
from harness.measure.without_folders import folders_here, without_folders
from harness.plan.cell import Cell
from harness.records.limits import TrialLimits
from harness.records.order import Cooling
from harness.records.record import CellRef, Outcome, Record
from harness.records.validity import Validity

if TYPE_CHECKING:
    from harness.measure.trial import Bench, Trial


@dataclass(frozen=True, kw_only=True)
class Ran:
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


def record_of(trial: Trial, bench: Bench, started: datetime, ran: Ran) -> Record:
    """The record of a trial that began at `started`, with what its worker said."""
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
            *(() if ran.prepared is None else ran.prepared.files),
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
        gate=gate_of(messages, ran.prepared, here),
        quality=quality_of(messages, ran.prepared, here) if cell.workload == "quality" else None,
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
        sampling=cell.sampling,
        prompt=cell.prompt,
    )


def _nameless(outcome: Outcome, here: Mapping[str, str]) -> Outcome:
    """The outcome without the folders of this machine in its words."""
    words = {"reason": outcome.reason, "detail": outcome.detail}
    return structs.replace(
        outcome,
        **{k: None if text is None else without_folders(text, here) for k, text in words.items()},
    )
