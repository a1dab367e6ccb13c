"""From the trials of a strategy to its row: speed, memory and quality side by side.

Only trials that ended well speak for speed and memory; where there are none, those that were noisy.
Each trial is first reduced to one value, its own median; the statistics then run over trials.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

import msgspec

from harness.records.latency import Prefill
from harness.records.record import Record, SlotRecord
from harness.report.answers import (
    score_by_category,
    score_of,
    shown_answers,
    steadiness,
)
from harness.report.format import size
from harness.report.latency import latency_of, token_times
from harness.report.memory import memory_of
from harness.report.missing import reasons
from harness.report.order import places_of
from harness.report.peaks import NO_PEAKS, Peaks
from harness.report.phases import phases_of
from harness.report.quality import gate_of, is_scored, quality_of
from harness.report.quiet import quiet_of
from harness.report.roofline import energy_of, roofline_of
from harness.report.trials import CellTrials, judge
from harness.report.values import Placement, PrefillSpeed, Row
from harness.stats import Estimate, Ratio, estimate, median, ratio


def build_row(
    label: str,
    cells: Sequence[CellTrials],
    workloads: Collection[str] = (),
    broken: Collection[str] = (),
    elsewhere: Mapping[str, str] | None = None,
    peaks: Peaks = NO_PEAKS,
) -> Row:
    """The row of one model, engine, strategy, thread count and batch, without any comparison.

    `workloads` are those that the study runs on it, also where this run left them out; `broken` is
    `judge`'s, `elsewhere` and `peaks` are the row's own.
    """
    speed = next((cell for cell in cells if cell.cell.workload == "speed"), None)
    depth = next((cell for cell in cells if cell.cell.workload == "depth"), None)
    answers = next((cell for cell in cells if cell.cell.workload == "answers"), None)
    scored = next((cell for cell in cells if cell.cell.workload == "quality"), None)
    used = [one.counted for one in (speed, depth, answers) if one is not None and one.counted]
    # Loading and placement are the speed trials'; where there are none, the other workload's.
    measured = used[0] if used else ()
    ok = speed.counted if speed is not None else ()
    cell = cells[0].cell
    headline = tuple(r.decode_tok_per_s for r in ok if r.decode_tok_per_s)
    prefill = tuple(r.prefill_tok_per_s for r in ok if r.prefill_tok_per_s)
    given = shown_answers(answers)
    row = Row(
        label=label,
        model=cell.model,
        engine=cell.engine,
        strategy=cell.strategy,
        threads=cell.threads,
        batch=ok[0].batch if ok else max(one.cell.batch for one in cells),
        reference=label,
        outcomes=tuple(judge(cell, broken) for cell in cells),
        elsewhere=dict(elsewhere or {}),
        decode_tok_per_s=_estimate(headline),
        decode_trials=headline,
        places=places_of(ok),
        prefill_tok_per_s=_estimate(prefill),
        prefill_trials=prefill,
        prefill_lengths=_prefill_lengths(ok),
        load_s=_estimate([r.load_s for r in measured]),
        weights_read=_unique(read for r in measured for read in _weights_read(r)),
        # Whoever runs the strategy needs what the hungriest of these takes.
        memory=memory_of(peaks.counted),
        memory_without_depth=memory_of(peaks.records) if peaks.depth else None,
        phases=phases_of(record for records in used for record in records),
        token_times=token_times(ok),
        latency=latency_of(
            ok,
            depth.counted if depth is not None else (),
            answers.counted if answers is not None else (),
        ),
        roofline=roofline_of(ok),
        energy=energy_of(ok),
        curve_s=_curve(ok),
        score=score_of(given),
        presented=_presented(answers),
        quality=quality_of(() if scored is None else scored.counted or _cut_short(scored)),
        # Noise may have had the first trial, which alone begins with it, measured again.
        gate=gate_of([one for cell in cells for one in (*cell.records, *cell.earlier)]),
        unsteady=steadiness(answers),
        categories=score_by_category(given),
        placement=_placement(measured[0].plan) if measured else (),
        planned_bytes=next((c.weight_bytes for c in cells if c.weight_bytes), {}),
        planned_peak_bytes=next((c.forecast_bytes for c in cells if c.forecast_bytes), {}),
        quiet=quiet_of(*_watched(speed or cells[0])),
        warnings=_unique(w for c in cells for w in (*c.warnings, *_warnings(c.records))),
    )
    return msgspec.structs.replace(row, missing=reasons(row, cells, measured, workloads, peaks))


def _presented(answers: CellTrials | None) -> str | None:
    """What joins answers, of the first trial that gave some."""
    records = () if answers is None else answers.records
    return next((one.key.presentation for one in records if one.answers), None)


def _cut_short(scored: CellTrials) -> tuple[Record, ...]:
    """Quality trials that ended badly, and had scored something by then."""
    return tuple(record for record in scored.records if is_scored(record.quality))


def compare_with(row: Row, reference: Row | None, wanted: str) -> Row:
    """The row with its ratios to the reference row, or with the reason why there are none."""
    if reference is None and "speed" in row.elsewhere:
        # Whatever its reference is: it has no speed to compare.
        return _without_ratios(row, row.missing["decode_tok_per_s"], reference=wanted)
    if reference is None:
        why = f"the reference strategy {wanted} was not planned for this model, threads and batch"
        return _without_ratios(row, why, reference=wanted)
    if row.label == reference.label and row.decode_tok_per_s is not None:
        return msgspec.structs.replace(row, decode_ratio=Ratio(value=1.0, low=None, high=None))
    if row.decode_tok_per_s is None:
        return _without_ratios(row, row.missing["decode_tok_per_s"], reference=reference.label)
    if reference.decode_tok_per_s is None:
        why = f"the reference strategy {reference.label} has no decode speed"
        return _without_ratios(row, why, reference=reference.label)
    return msgspec.structs.replace(
        row,
        reference=reference.label,
        decode_ratio=ratio(row.decode_trials, reference.decode_trials),
    )


def _estimate(values: Iterable[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return estimate(known) if known else None


def _prefill_lengths(records: Sequence[Record]) -> tuple[PrefillSpeed, ...]:
    """At each prompt length: tokens over the median time of a trial's passes, then over trials.

    The headline speed of a record is defined alike.
    """
    by_length: dict[int, list[float]] = {}
    for record in records:
        for tokens, same in groupby(sorted(record.prefill, key=_tokens), key=_tokens):
            time_s = median([one.s for one in same])
            if time_s > 0:
                by_length.setdefault(tokens, []).append(record.batch * tokens / time_s)
    return tuple(
        PrefillSpeed(tokens=tokens, tok_per_s=estimate(by_length[tokens]))
        for tokens in sorted(by_length)
    )


def _tokens(prefill: Prefill) -> int:
    return prefill.tokens


def _curve(records: Sequence[Record]) -> tuple[float, ...]:
    """The median time of the token at each position, over all passes of all trials."""
    passes = [one_pass for record in records for one_pass in record.decode_s]
    return tuple(
        median([s for s in position if s is not None]) for position in zip_longest(*passes)
    )


def _weights_read(record: Record) -> Iterator[str]:
    """Which file the trial loaded; nothing in records that are older than the question."""
    if record.converted is not None:
        yield f"converted once, {size(record.converted.bytes)}"
    elif record.converted_missing is not None:
        yield record.converted_missing


def _placement(slots: Sequence[SlotRecord]) -> tuple[Placement, ...]:
    placed = []
    for _, group in groupby(slots, key=_alike):
        same = list(group)
        first = same[0]
        placed.append(
            Placement(
                first_slot=first.slot,
                last_slot=same[-1].slot,
                device=first.device,
                dtype=first.dtype,
                weight_dtype=first.weight_dtype,
                streamed=first.streamed,
                bytes=sum(slot.bytes for slot in same),
                kernels=first.kernels,
            )
        )
    return tuple(placed)


def _alike(slot: SlotRecord) -> tuple[Any, ...]:
    kernels = tuple(sorted(slot.kernels.items()))
    return slot.device, slot.dtype, slot.weight_dtype, slot.streamed, kernels


def _without_ratios(row: Row, why: str, *, reference: str) -> Row:
    return msgspec.structs.replace(
        row, reference=reference, missing={**row.missing, "decode_ratio": why}
    )


def _watched(cell: CellTrials) -> tuple[tuple[Record, ...], int]:
    """The trials of a cell that count, and how many noisy attempts do not."""
    return cell.counted, cell.left_out


def _warnings(records: Sequence[Record]) -> list[str]:
    return [warning for record in records for warning in record.warnings]


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
