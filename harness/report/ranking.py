"""From the rows of one run or several to one ranking for each model on each machine.

Knows which rows are of one strategy; what is best among them is `recommend.py`'s. Of what was
measured in two runs of one machine, the newer counts. Figures of different machines never stand in
one ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePath

from harness.config.engines import TORCH
from harness.records.record import Record
from harness.records.store import Run
from harness.report.facts import differences
from harness.report.format import count, listing
from harness.report.options import faults_of, option_of
from harness.report.recommend import Option, Recommendation, Wishes, recommend
from harness.report.results import same_computation
from harness.report.values import ModelSummary, Row, Summary

_Key = tuple[str, str, int]  # engine, strategy, threads


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """What to run of one model on one machine."""

    model: str
    machine: str
    runs: tuple[str, ...]  # that have cells of the model, newest first
    wishes: Wishes
    options: tuple[Option, ...]
    found: Recommendation
    notes: tuple[str, ...] = ()
    also_called: tuple[str, ...] = ()  # other names of the same weights

    @property
    def is_measured(self) -> bool:
        """Whether any strategy was."""
        return any(one.is_measured for one in self.options)

    @property
    def reference(self) -> Option | None:
        """What the best is compared with; where there is none, that of the newest run."""
        found = None if self.found.best is None else self.reference_of(self.found.best)
        return found or next((one for one in self.options if one.is_reference), None)

    def reference_of(self, option: Option) -> Option | None:
        """The study's reference on as many threads; None where it is not among the options."""
        return next((one for one in self.options if one.name == option.reference), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One model in one run."""

    run: str
    model: ModelSummary
    measured_at: str = ""
    records: tuple[Record, ...] = ()
    text: str | None = None  # that quality is scored on, where it is known
    questions: str | None = None  # their hash, likewise


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """One row of one run."""

    part: _Part
    row: Row
    option: Option


def rank_runs(
    runs: Sequence[tuple[Run, Summary]], wishes: Wishes, model: str | None = None
) -> tuple[Ranking, ...]:
    """One ranking for each model on each machine, or for the model of that name alone."""
    found = [
        (_machine(run), _hash(run, one.name, "weights_sha256"), _part(run, summary, one))
        for run, summary in runs
        for one in summary.models
    ]
    known: dict[tuple[str, str], set[str]] = {}
    for machine, weights, part in found:
        known.setdefault((machine, part.model.name), set()).update(filter(None, [weights]))
    places: dict[tuple[str, str], list[_Part]] = {}
    for machine, weights, part in found:
        # A run that could measure nothing of a model does not know its weights: its name tells.
        name = part.model.name
        named = known[machine, name]
        only = next(iter(named)) if len(named) == 1 else name
        places.setdefault((machine, weights or only), []).append(part)
    rankings = (
        _rank(machine, sorted(parts, key=lambda part: part.measured_at, reverse=True), wishes)
        for (machine, _), parts in places.items()
    )
    return tuple(one for one in rankings if model in (None, one.model, *one.also_called))


def rank_model(model: ModelSummary, wishes: Wishes, *, run: str) -> Ranking:
    """The ranking of one model in one run, of one machine."""
    return _rank("this machine", [_Part(run=run, model=model)], wishes)


def _machine(run: Run) -> str:
    return run.path.resolve().parent.name


def _hash(run: Run, model: str, fact: str) -> str | None:
    """Of its weights or questions, by its newest record that tells."""
    told = (one.facts.get(fact) for one in reversed(run.records) if one.cell.model == model)
    return next((one for one in told if isinstance(one, str)), None)


def _part(run: Run, summary: Summary, model: ModelSummary) -> _Part:
    quality = run.study.workloads.quality
    return _Part(
        run=summary.run,
        model=model,
        measured_at=summary.last_started_at or "",
        records=tuple(one for one in run.records if one.cell.model == model.name),
        text=None if quality is None else PurePath(quality.text).name,
        questions=_hash(run, model.name, "questions_sha256"),
    )


def _rank(machine: str, parts: Sequence[_Part], wishes: Wishes) -> Ranking:
    """`parts` are the newest first."""
    rows = [(part, row) for part in parts for row in part.model.rows]
    timed = [row.batch for _, row in rows if row.decode_tok_per_s is not None]
    least = min(timed or [row.batch for _, row in rows], default=1)
    kept = [(part, row) for part, row in rows if row.batch <= least]
    names = _names(list(dict.fromkeys(_key(row) for _, row in kept)))
    several_texts = len({part.text for part in parts}) > 1
    by_key: dict[_Key, list[_Found]] = {}
    for part, row in kept:
        text = part.text if several_texts else None
        option = option_of(row, names[_key(row)], part.run, text=text)
        compared = {one.label: names.get(_key(one)) for one in part.model.rows}
        option = replace(
            option,
            reference=compared.get(row.reference),
            questions=None if option.right is None else part.questions,
        )
        by_key.setdefault(_key(row), []).append(_Found(part=part, row=row, option=option))
    options = tuple(_joined(found) for found in by_key.values())
    called = tuple(dict.fromkeys(part.model.name for part in parts))
    return Ranking(
        model=called[0],
        machine=machine,
        runs=tuple(dict.fromkeys(part.run for part in parts)),
        wishes=wishes,
        options=options,
        found=recommend(options, wishes),
        notes=tuple(
            dict.fromkeys(
                [
                    *_measured_twice(zip(options, by_key.values(), strict=True)),
                    *_of_batches(least, sum(row.batch > least for _, row in rows)),
                    *_of_variants(by_key.values()),
                    *(text for part in parts for text in same_computation(part.model)),
                    *_scored_otherwise(options),
                    *_asked_otherwise(options),
                    *(_changed(parts) if len(parts) > 1 else ()),
                    *(
                        [f"{listing(called)} are names of the same weights."]
                        if len(called) > 1
                        else []
                    ),
                ]
            )
        ),
        also_called=called[1:],
    )


def _key(row: Row) -> _Key:
    return row.engine, row.strategy, row.threads


def _names(keys: Sequence[_Key]) -> dict[_Key, str]:
    """The strategy; engine and threads where there are several, or the engine is not our own."""
    ours = {engine for engine, *_ in keys} == {TORCH}
    several_threads = len({threads for *_, threads in keys}) > 1
    return {
        (engine, strategy, threads): ", ".join(
            [
                strategy,
                *([] if ours else [engine]),
                *([count(threads, "thread")] if several_threads else []),
            ]
        )
        for engine, strategy, threads in keys
    }


def _joined(found: Sequence[_Found]) -> Option:
    """One strategy in several runs, the newest first: each figure of the newest that has it.

    Speed and memory are of one run, so that they belong together. Of several samplings or prompts
    in one run, the first speaks.
    """
    options = [one.option for one in found]
    base = next((one for one in options if one.decode_tok_per_s is not None), options[0])
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
        questions=judged.questions,
        is_reference=options[0].is_reference,
        reference=options[0].reference,
        unfit=_unfit(found),
        why_missing=_why_missing(base, scored, judged),
        cautions=tuple(dict.fromkeys(text for one in used for text in one.cautions)),
        runs=tuple(dict.fromkeys(name for one in used for name in one.runs)),
    )


def _why_missing(base: Option, scored: Option, judged: Option) -> tuple[tuple[str, str], ...]:
    """Of each figure that none of them has, the reason that the one gives which speaks for it."""
    speaks = {"agreement": scored, "kl_mean": scored, "right": judged}
    names = dict.fromkeys(name for one in (base, scored, judged) for name, _ in one.why_missing)
    said = ((name, speaks.get(name, base).why(name)) for name in names)
    return tuple((name, text) for name, text in said if text is not None)


def _unfit(found: Sequence[_Found]) -> str | None:
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
    return faults.get("gate") or next((fault for fault in faults.values() if fault), None)


def _measured_twice(joined: Iterable[tuple[Option, Sequence[_Found]]]) -> Iterator[str]:
    """Which strategies several runs have, those of the same runs in one sentence."""
    names: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for option, found in joined:
        runs = {one.part.run for one in found if one.row.was_tried}
        if len(runs) > 1:
            names.setdefault((len(runs), option.runs), []).append(f"“{option.name}”")
    for (n, runs_of), of_them in names.items():
        yield (
            f"{listing(of_them)} {_were(len(of_them))} measured in {count(n, 'run')}; of each "
            f"figure the newest counts: {listing(runs_of)}."
        )


def _of_batches(least: int, larger: int) -> Iterator[str]:
    if larger:
        yield (
            f"{count(larger, 'cell')} with a larger batch than {least} {_are(larger)} not "
            "compared: rows of a batch together are always faster."
        )
    if least > 1:
        yield f"All speeds are those of {least} rows of a batch together."


def _of_variants(found: Iterable[Sequence[_Found]]) -> Iterator[str]:
    """Whose answers speak, where there are several samplings or prompts."""
    for rows in found:
        judged = next((one for one in rows if one.option.right is not None), None)
        if judged is None or not judged.row.variant:
            continue
        others = [
            f"“{one.row.variant}”"
            for one in rows
            if one.part is judged.part and one.row.variant != judged.row.variant
        ]
        if others:
            yield (
                f"Right answers are those of “{judged.row.variant}”; the report has those of "
                f"{listing(list(dict.fromkeys(others)))}."
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


def _asked_otherwise(options: Sequence[Option]) -> Iterator[str]:
    """Nor are right answers to other questions."""
    by_questions: dict[str | None, list[str]] = {}
    for one in options:
        if one.right is not None:
            by_questions.setdefault(one.questions, []).append(f"“{one.name}”")
    if len(by_questions) > 1:
        sets = listing([listing(names) for names in by_questions.values()])
        yield f"The questions are not the same for {sets}: their right answers cannot be compared."


def _changed(parts: Sequence[_Part]) -> Iterator[str]:
    """Which facts that a speed hangs on are not the same in all runs."""
    changes = differences([record for part in parts for record in part.records])
    names = [
        one.name for one in changes if one.follows is None and "speed" in (one.must_match or ())
    ]
    if names:
        yield (
            f"Not the same in all of these records: {listing(names)}. What was measured before "
            "and after is not of the same conditions."
        )


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _were(n: int) -> str:
    return "was" if n == 1 else "were"
