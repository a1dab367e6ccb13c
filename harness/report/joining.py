"""From the rows of one strategy in several runs to one option of a recommendation.

Knows rows and options; which runs belong together, and what is best, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from harness.config.engines import TORCH
from harness.records.record import Record
from harness.report.format import count
from harness.report.options import cautions_of, faults_of
from harness.report.recommend import Option
from harness.report.values import ModelSummary, Row

Key = tuple[str, str, int]  # engine, strategy, threads


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One model in one run."""

    run: str
    model: ModelSummary
    measured_at: str = ""
    records: tuple[Record, ...] = ()
    text: str | None = None  # that quality is scored on, where it is known
    questions: str | None = None  # their hash, likewise


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One row of one run."""

    part: Part
    row: Row
    option: Option


def key_of(row: Row) -> Key:
    """Rows of the same key are of the same strategy, in whatever run."""
    return row.engine, row.strategy, row.threads


def names_of(keys: Sequence[Key], batch: int) -> dict[Key, str]:
    """The strategy; with engine, threads and batch where they are not what anyone would expect.

    That is where there are several engines or thread counts, an engine that is not our own, or more
    than one row at a time.
    """
    ours = {engine for engine, *_ in keys} == {TORCH}
    several_threads = len({threads for *_, threads in keys}) > 1
    return {
        (engine, strategy, threads): ", ".join(
            [
                strategy,
                *([] if ours else [engine]),
                *([count(threads, "thread")] if several_threads else []),
                *([f"batch {batch}"] if batch > 1 else []),
            ]
        )
        for engine, strategy, threads in keys
    }


def joined(found: Sequence[Found]) -> Option:
    """One strategy in several runs, the newest first: each figure of the newest that has it.

    A speed that was disturbed counts where there is no other. Speed and memory are of one model in
    one run, so that they belong together. Of several samplings or prompts there, the first speaks;
    memory is the most under any of them.
    """
    newest, speaks = found[0].option, speaking(found)
    scores = next((one for one in found if one.option.agreement is not None), speaks)
    judges = next((one for one in found if one.option.right is not None), speaks)
    base, scored, judged = speaks.option, scores.option, judges.option
    cautions = [  # nothing of a speed, or of right answers, that is not the one that is shown
        text
        for one in (speaks, scores, judges)
        for text in cautions_of(one.row, speed=one is speaks, right=one is judges)
    ]
    beside = [one.option for one in found if one.part is speaks.part]  # other samplings or prompts
    return replace(
        base,
        ram_bytes=_largest(base.ram_bytes, [one.ram_bytes for one in beside]),
        vram_bytes=_largest(base.vram_bytes, [one.vram_bytes for one in beside]),
        agreement=scored.agreement,
        scored_on=scored.scored_on,
        scored_under=scored.scored_under,
        agreement_low=scored.agreement_low,
        agreement_high=scored.agreement_high,
        kl_mean=scored.kl_mean,
        kl_most=scored.kl_most,
        right=judged.right,
        unfinished=judged.unfinished,
        questions=judged.questions,
        presented=judged.presented,
        is_reference=newest.is_reference,
        reference=newest.reference,
        unfit=_unfit(found),
        why_missing=_why_missing(base, scored, judged),
        cautions=tuple(dict.fromkeys(cautions)),
        runs=tuple(dict.fromkeys((*base.runs, *scored.runs, *judged.runs))),
    )


def speaking(found: Sequence[Found]) -> Found:
    """The row whose speed and memory are the strategy's: the newest that was not disturbed.

    Else the newest that has a speed, else the newest.
    """
    timed = [one for one in found if one.option.decode_tok_per_s is not None]
    quiet = (one for one in timed if not one.option.is_disturbed)
    return next(quiet, (timed or found)[0])


def _largest(own: int | None, others: Sequence[int | None]) -> int | None:
    """The most that any of them took; None where its own is not known."""
    return None if own is None else max(one for one in others if one is not None)


def _why_missing(base: Option, scored: Option, judged: Option) -> tuple[tuple[str, str], ...]:
    """Of each figure that none of them has, the reason that the one gives which speaks for it."""
    speaks = {"agreement": scored, "kl_mean": scored, "right": judged}
    names = dict.fromkeys(name for one in (base, scored, judged) for name, _ in one.why_missing)
    said = ((name, speaks.get(name, base).why(name)) for name in names)
    return tuple((name, text) for name, text in said if text is not None)


def _unfit(found: Sequence[Found]) -> str | None:
    """Why nobody should run it: what the newest run says of each workload that it has tried.

    What is wrong with it under one sampling or prompt is wrong with it.
    """
    faults: dict[str, str | None] = {}
    for _, of_run in groupby(found, key=lambda one: one.part.run):
        here: dict[str, str | None] = {}
        for one in of_run:
            for name, fault in faults_of(one.row).items():
                here[name] = here.get(name) or fault
        faults |= {name: fault for name, fault in here.items() if name not in faults}
    return next((fault for fault in faults.values() if fault), None)
