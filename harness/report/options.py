"""From a row of a summary to an option of a recommendation: its figures, or why it has none.

Knows one row; how those of several runs come together is `joining.py`'s, and what is best among
options `recommend.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.config.matrix import SPEED
from harness.report.format import count, listing
from harness.report.memory import device_key
from harness.report.missing import NOT_AS_DEEP, why
from harness.report.quality import RowQuality
from harness.report.quality_cells import why_no_mean, why_unscored
from harness.report.recommend import Option
from harness.report.values import CellOutcome, MemoryUse, Row

HOST = "cpu"
# A strategy that fails at these is no choice; one that fails elsewhere is, with a caution.
_NEEDED = ("speed", "answers")
_BROKEN = ("wrong_answers", "not_a_number", "wrong_strategy")  # wherever it was found
# Outcomes after which nothing is known of a strategy that was not known before.
_NOT_TRIED = ("skipped", "not run", "not finished")


def option_of(
    row: Row,
    name: str | None = None,
    run: str | None = None,
    *,
    text: str | None = None,
    depth: bool = True,
) -> Option:
    """One row; None for each figure that it lacks, with the reason.

    `text` is the name of what its quality was scored on, where others have another one. Without
    `depth` its memory is that without the workload `depth`, which others were not measured with.
    """
    memory = row.memory if depth else row.memory_without_depth or row.memory
    quality = None if row.quality is None else row.quality.headline
    kl = None if quality is None else quality.kl_mean
    presented = row.presented or row.variant or None
    on_answers = row.quality is not None and row.quality.text is None
    vram, why_vram = _vram(row, memory)
    unscored = why_unscored(row) if quality is None else "there are no tokens"
    figures = {
        "decode_tok_per_s": None if row.decode_tok_per_s is None else row.decode_tok_per_s.value,
        "prefill_tok_per_s": None if row.prefill_tok_per_s is None else row.prefill_tok_per_s.value,
        "ram_bytes": memory.peak_rss_bytes,
        "vram_bytes": vram,
        "agreement": None if quality is None else quality.agreement,
        "kl_mean": None if kl is None else kl.value,
        "right": None if row.score is None else (row.score.right, row.score.of),
    }
    reasons = {
        "decode_tok_per_s": row.missing.get("decode_tok_per_s"),
        "prefill_tok_per_s": row.missing.get("prefill_tok_per_s"),
        "ram_bytes": row.missing.get("peak_rss_bytes") or (None if depth else NOT_AS_DEEP),
        "vram_bytes": why_vram,
        "agreement": unscored,
        "kl_mean": unscored if quality is None else why_no_mean(quality),
        "right": row.missing.get("score"),
    }
    lacking = [field for field, value in figures.items() if value is None]
    return Option(
        name=name or row.label,
        **figures,  # type: ignore[arg-type]  # each of the type of its field
        scored_on=None if row.quality is None else _scored_on(row.quality, row.variant, text),
        scored_under=(presented or "") if on_answers else None,
        agreement_low=None if quality is None else quality.agreement_low,
        agreement_high=None if quality is None else quality.agreement_high,
        kl_most=None if kl is None else kl.most,
        unfinished=0 if row.score is None else row.score.unfinished,
        presented=presented,
        decode_trials=row.decode_trials,
        prefill_trials=row.prefill_trials,
        is_disturbed=any(
            one.workload == SPEED and one.state == "disturbed" for one in row.outcomes
        ),
        is_reference=row.is_reference,
        reference=row.reference,
        unfit=next((fault for fault in faults_of(row).values() if fault), None),
        why_missing=tuple((field, reasons[field] or "not recorded") for field in lacking),
        cautions=tuple(cautions_of(row)),
        runs=() if run is None else (run,),
    )


def faults_of(row: Row) -> dict[str, str | None]:
    """Of the gate and of each workload that was tried, why nobody should run it; None: nothing.

    The gate comes first: it is why the rest was not measured.
    """
    faults: dict[str, str | None] = {}
    if row.gate is not None and row.gate.missing is None:
        faults["gate"] = None if row.gate.why is None else f"wrong answers: {row.gate.why}"
    for outcome in row.outcomes:
        # Behind a gate that it did not pass, no workload is tried.
        at_gate = outcome.kind == "wrong_answers" and faults.get("gate") is not None
        if outcome.state in _NOT_TRIED or at_gate:
            continue
        needed = outcome.workload in _NEEDED or outcome.kind in _BROKEN
        is_fault = outcome.state == "failed" and needed
        fault = why(outcome) if is_fault else None
        faults[outcome.workload] = faults.get(outcome.workload) or fault
    if row.unsteady:
        faults["answers"] = (
            f"nondeterministic: {count(len(row.unsteady), 'answer')} changed from trial to trial"
        )
    not_finite = _not_finite(row)
    if not_finite:
        text = count(not_finite, "log-probability", "log-probabilities")
        faults["quality"] = f"gave {text} without a number"
    return faults


def _not_finite(row: Row) -> int:
    if row.quality is None:
        return 0
    parts = (row.quality.text, row.quality.answers)
    return sum(part.not_finite for part in parts if part is not None)


def cautions_of(row: Row, *, speed: bool = True, right: bool = True) -> Iterator[str]:
    """What a user should know who runs it; of `speed` and of `right` answers where asked for."""
    for outcome in row.outcomes:
        if outcome.workload == SPEED and not speed:
            continue
        if _failed_at_times(outcome):
            yield (
                f"{outcome.trials - outcome.ok} of {count(outcome.trials, 'trial')} of "
                f"'{outcome.workload}' failed: {why(outcome)}"
            )
        elif outcome.state == "failed":
            yield f"'{outcome.workload}' failed: {why(outcome)}"
        elif outcome.state == "disturbed":
            yield f"every trial of '{outcome.workload}' was disturbed: {why(outcome)}"
    if right and row.score is not None and row.score.unfinished:
        of = count(row.score.of, "answer")
        yield f"cut at limits.question_s and not right by then: {row.score.unfinished} of {of}"


def _failed_at_times(outcome: CellOutcome) -> bool:
    quiet = ("skipped", "noisy", "interrupted")
    return outcome.state == "partial" and any(p.kind not in quiet for p in outcome.problems)


def _scored_on(quality: RowQuality, variant: str, text: str | None) -> str | None:
    if quality.text is not None:
        return f"{count(quality.text.tokens, 'token')} of {text or 'the fixed text'}"
    if quality.answers is None:
        return None
    return "its own answers" + (f" under “{variant}”" if variant else "")


def _vram(row: Row, memory: MemoryUse) -> tuple[int | None, str | None]:
    """The peak of the fullest accelerator, 0 where it uses none; or why that is not known."""
    if not row.was_tried:
        return None, next((why(one) for one in row.outcomes if one.ok == 0), "not measured")
    held = memory.device_held_bytes
    used = _accelerators(row) | set(held)
    unknown = sorted(name for name in used if not held.get(name))
    if unknown:
        return None, f"what it took of {listing(unknown)} was not measured"
    return max(held.values(), default=0), None


def _accelerators(row: Row) -> set[str]:
    """Where its slots lay, or were to lie, beside the host."""
    lay = [place.device for place in row.placement] or list(row.planned_bytes)
    if not lay:
        lay = [stage.split()[0] for stage in re.split(r"->", row.strategy) if stage.split()]
    return {device_key(name) for name in lay if not name.startswith(HOST)}
