"""From the rows of a summary to options of a recommendation, and from several runs to one choice.

Knows rows; what is best among options is `recommend.py`'s. Of what was measured in two runs of one
machine, the newer counts. Figures of different machines never stand in one ranking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.records.record import Record
from harness.records.store import Run
from harness.report.facts import differences
from harness.report.format import count, listing
from harness.report.missing import why
from harness.report.quality import RowQuality
from harness.report.recommend import Option, Recommendation, Wishes, recommend
from harness.report.values import CellOutcome, ModelSummary, Row, Summary

HOST = "cpu"
_Key = tuple[str, str, int]  # engine, strategy, threads
# A strategy that fails at these is no choice; one that fails elsewhere is, with a caution.
_NEEDED = ("speed", "answers")
_BROKEN = ("wrong_answers", "not_a_number", "wrong_strategy")  # wherever it was found
# What a driver or an allocator says that was held of a device: the largest of them had to fit.
_HELD = ("allocated_peak_bytes", "reserved_peak_bytes", "process_bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """What to run of one model on one machine."""

    model: str
    machine: str
    runs: tuple[str, ...]  # that have cells of the model, newest first
    wishes: Wishes
    options: tuple[Option, ...]
    found: Recommendation
    reference: Option | None = None  # of the newest run
    notes: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether any strategy was."""
        return any(one.is_measured for one in self.options)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One model in one run."""

    run: str
    model: ModelSummary
    measured_at: str
    records: tuple[Record, ...] = ()


def option_of(row: Row, name: str | None = None, run: str | None = None) -> Option:
    """One row; None for each figure that it lacks, with the reason."""
    quality = None if row.quality is None else row.quality.headline
    kl = None if quality is None else quality.kl_mean
    vram, why_vram = _vram(row)
    missing = {**row.missing, "vram_bytes": why_vram, "agreement": _why_unscored(row)}
    if "peak_rss_bytes" in row.missing:
        missing["ram_bytes"] = row.missing["peak_rss_bytes"]
    return Option(
        name=name or row.label,
        decode_tok_per_s=None if row.decode_tok_per_s is None else row.decode_tok_per_s.value,
        prefill_tok_per_s=None if row.prefill_tok_per_s is None else row.prefill_tok_per_s.value,
        ram_bytes=row.memory.peak_rss_bytes,
        vram_bytes=vram,
        agreement=None if quality is None else quality.agreement,
        scored_on=None if row.quality is None else _scored_on(row.quality),
        agreement_low=None if quality is None else quality.agreement_low,
        agreement_high=None if quality is None else quality.agreement_high,
        kl_mean=None if kl is None else kl.value,
        kl_most=None if kl is None else kl.most,
        right=None if row.score is None else (row.score.right, row.score.of),
        decode_trials=row.decode_trials,
        prefill_trials=row.prefill_trials,
        is_reference=row.is_reference,
        unfit=_unfit(row),
        why_missing=tuple((name, text) for name, text in missing.items() if text is not None),
        cautions=tuple(_cautions(row)),
        runs=() if run is None else (run,),
    )


def rank_runs(
    runs: Sequence[tuple[Run, Summary]], wishes: Wishes, model: str | None = None
) -> tuple[Ranking, ...]:
    """One ranking for each model on each machine, or for the model of that name alone."""
    parts: dict[tuple[str, str], list[_Part]] = {}
    for run, summary in runs:
        weights = _weights(run)
        for one in summary.models:
            if model in (None, one.name):
                place = (run.path.resolve().parent.name, weights.get(one.name, one.name))
                part = _Part(
                    run=summary.run,
                    model=one,
                    measured_at=summary.last_started_at or "",
                    records=tuple(r for r in run.records if r.cell.model == one.name),
                )
                parts.setdefault(place, []).append(part)
    return tuple(
        _rank(machine, sorted(found, key=lambda part: part.measured_at, reverse=True), wishes)
        for (machine, _), found in parts.items()
    )


def rank_model(model: ModelSummary, wishes: Wishes, *, run: str) -> Ranking:
    """The ranking of one model in one run, of one machine."""
    return _rank("this machine", [_Part(run=run, model=model, measured_at="")], wishes)


def _weights(run: Run) -> dict[str, str]:
    """What tells the models of different runs apart: the hash of their weights, where known."""
    return {
        record.cell.model: digest
        for record in run.records
        if isinstance(digest := record.facts.get("weights_sha256"), str)
    }


def _rank(machine: str, parts: Sequence[_Part], wishes: Wishes) -> Ranking:
    """`parts` are the newest first."""
    rows = [(part, row) for part in parts for row in part.model.rows]
    least = min((row.batch for _, row in rows), default=1)
    by_key: dict[_Key, list[tuple[_Part, Row]]] = {}
    for part, row in rows:
        if row.batch == least:
            by_key.setdefault(_key(row), []).append((part, row))
    names = _names(list(by_key))
    options, notes = [], []
    for key, found in by_key.items():
        option = _joined([option_of(row, names[key], part.run) for part, row in found])
        options.append(option)
        several = dict.fromkeys(part.run for part, row in found if row.was_tried)
        if len(several) > 1:
            notes.append(_measured_twice(option, len(several)))
    larger = sum(row.batch > least for _, row in rows)
    if larger:
        notes.append(
            f"{count(larger, 'cell')} with a larger batch than {least} {_are(larger)} not "
            "compared: rows of a batch together are always faster."
        )
    notes.extend(_scored_otherwise(options))
    if len(parts) > 1:
        notes.extend(_changed([record for part in parts for record in part.records]))
    called = dict.fromkeys(part.model.name for part in parts)
    if len(called) > 1:
        notes.append(f"{listing(list(called))} are names of the same weights.")
    return Ranking(
        model=parts[0].model.name,
        machine=machine,
        runs=tuple(dict.fromkeys(part.run for part in parts)),
        wishes=wishes,
        options=tuple(options),
        found=recommend(options, wishes),
        reference=next((one for one in options if one.is_reference), None),
        notes=tuple(notes),
    )


def _scored_otherwise(options: Sequence[Option]) -> Iterator[str]:
    """Agreement on two kinds of tokens is not one figure."""
    by_tokens: dict[str, list[str]] = {}
    for one in options:
        if one.scored_on is not None:
            by_tokens.setdefault(one.scored_on, []).append(f"“{one.name}”")
    if len(by_tokens) > 1:
        parts = [f"of {listing(names)} on {tokens}" for tokens, names in by_tokens.items()]
        yield f"The agreement is {listing(parts)}, which cannot be compared."


def _changed(records: Sequence[Record]) -> Iterator[str]:
    """Which facts that a speed hangs on are not the same in all runs."""
    changes = [one for one in differences(records) if one.follows is None]
    names = [one.name for one in changes if "speed" in (one.must_match or ())]
    if names:
        yield (
            f"Not the same in all of these records: {listing(names)}. What was measured before "
            "and after is not of the same conditions."
        )


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _key(row: Row) -> _Key:
    return row.engine, row.strategy, row.threads


def _names(keys: Sequence[_Key]) -> dict[_Key, str]:
    """The strategy; engine and threads only where there are several."""
    several_engines = len({engine for engine, *_ in keys}) > 1
    several_threads = len({threads for *_, threads in keys}) > 1
    return {
        (engine, strategy, threads): ", ".join(
            [
                strategy,
                *([engine] if several_engines else []),
                *([count(threads, "thread")] if several_threads else []),
            ]
        )
        for engine, strategy, threads in keys
    }


def _joined(options: Sequence[Option]) -> Option:
    """One strategy in several runs, the newest first: each figure of the newest that has it.

    Speed and memory are of one run, so that they belong together. Of several samplings or prompts
    in one run, the first speaks.
    """
    measured = (one for one in options if one.unfit or one.decode_tok_per_s is not None)
    base = next(measured, options[0])
    scored = next((one for one in options if one.agreement is not None), base)
    judged = next((one for one in options if one.right is not None), base)
    used = tuple(dict.fromkeys((base, scored, judged)))
    return replace(
        base,
        agreement=scored.agreement,
        scored_on=scored.scored_on,
        agreement_low=scored.agreement_low,
        agreement_high=scored.agreement_high,
        kl_mean=scored.kl_mean,
        kl_most=scored.kl_most,
        right=judged.right,
        is_reference=options[0].is_reference,
        unfit=next((one.unfit for one in used if one.unfit), None),
        cautions=tuple(dict.fromkeys(text for one in used for text in one.cautions)),
        runs=tuple(dict.fromkeys(name for one in used for name in one.runs)),
    )


def _measured_twice(option: Option, runs: int) -> str:
    return (
        f"“{option.name}” was measured in {count(runs, 'run')}; of each figure the newest counts: "
        f"{listing(option.runs)}."
    )


def _unfit(row: Row) -> str | None:
    """Why nobody should run it."""
    for outcome in row.outcomes:
        if outcome.state == "failed" and (outcome.workload in _NEEDED or outcome.kind in _BROKEN):
            return why(outcome)
    if row.unsteady:
        return f"nondeterministic: {count(len(row.unsteady), 'answer')} changed from trial to trial"
    not_finite = (
        0
        if row.quality is None
        else sum(
            part.not_finite for part in (row.quality.text, row.quality.answers) if part is not None
        )
    )
    return (
        f"gave {count(not_finite, 'log-probability', 'log-probabilities')} without a number"
        if not_finite
        else None
    )


def _cautions(row: Row) -> Iterator[str]:
    for outcome in row.outcomes:
        if _failed_at_times(outcome):
            yield (
                f"{outcome.trials - outcome.ok} of {count(outcome.trials, 'trial')} of "
                f"'{outcome.workload}' failed: {why(outcome)}"
            )
        elif outcome.state == "failed":
            yield f"'{outcome.workload}' failed: {why(outcome)}"
        elif outcome.state == "disturbed":
            yield f"every trial of '{outcome.workload}' was disturbed: {why(outcome)}"


def _failed_at_times(outcome: CellOutcome) -> bool:
    quiet = ("skipped", "noisy", "interrupted")
    return outcome.state == "partial" and any(p.kind not in quiet for p in outcome.problems)


def _scored_on(quality: RowQuality) -> str | None:
    if quality.text is not None:
        return "the fixed text"
    return "its own answers" if quality.answers is not None else None


def _why_unscored(row: Row) -> str | None:
    if row.quality is not None:
        said = row.quality.missing
        return "; ".join(dict.fromkeys(said.values())) or "nothing was scored"
    outcome = next((one for one in row.outcomes if one.workload == "quality"), None)
    if outcome is None:
        return row.missing.get("quality", "its quality was not scored")
    return why(outcome) if outcome.ok == 0 else "not recorded"


def _vram(row: Row) -> tuple[int | None, str | None]:
    """The peak of the fullest accelerator, 0 where it uses none; or why that is not known."""
    if not row.was_tried:
        return None, next((why(one) for one in row.outcomes if one.ok == 0), "not measured")
    held = _held(row)
    used = _accelerators(row) | set(held)
    unknown = sorted(name for name in used if not held.get(name))
    if unknown:
        return None, f"what it took of {listing(unknown)} was not measured"
    return max(held.values(), default=0), None


def _held(row: Row) -> dict[str, int]:
    """The most that each accelerator held, by any method."""
    held: dict[str, int] = {}
    peaks: list[tuple[str, int | None]] = list(row.memory.device_peak_bytes.items())
    for phase in row.phases:
        for name, figures in phase.devices.items():
            peaks += [(name, figures[of].bytes) for of in _HELD if of in figures]
    for name, n_bytes in peaks:
        held[_device(name)] = max(held.get(_device(name), 0), n_bytes or 0)
    return held


def _accelerators(row: Row) -> set[str]:
    """Where its slots lay, or were to lie, beside the host."""
    lay = [place.device for place in row.placement] or list(row.planned_bytes)
    if not lay:
        lay = [stage.split()[0] for stage in re.split(r"->", row.strategy) if stage.split()]
    return {_device(name) for name in lay if not name.startswith(HOST)}


def _device(name: str) -> str:
    return "cuda:0" if name == "cuda" else name
