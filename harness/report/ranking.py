"""From the rows of one run or several to one ranking for each model on each machine.

Knows which rows are of one strategy; what is best among them is `recommend.py`'s. Of what was
measured in two runs of one machine, the newer counts. Figures of different machines never stand in
one ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from harness.records.store import Run
from harness.report.facts import differences
from harness.report.format import count, listing
from harness.report.joining import Found, Key, Part, joined, key_of, names_of, speaking
from harness.report.options import option_of
from harness.report.recommend import Option, Recommendation, Wishes, recommend
from harness.report.results import same_computation
from harness.report.values import ModelSummary, Row, Summary


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
    places: dict[tuple[str, str], list[Part]] = {}
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
    return _rank("this machine", [Part(run=run, model=model)], wishes)


def _machine(run: Run) -> str:
    return run.path.resolve().parent.name


def _hash(run: Run, model: str, fact: str) -> str | None:
    """Of its weights or questions, by the first of its records that tells."""
    told = (one.facts.get(fact) for one in run.records if one.cell.model == model)
    return next((one for one in told if isinstance(one, str)), None)


def _part(run: Run, summary: Summary, model: ModelSummary) -> Part:
    quality = run.study.workloads.quality
    return Part(
        run=summary.run,
        model=model,
        measured_at=summary.last_started_at or "",
        records=tuple(one for one in run.records if one.cell.model == model.name),
        text=None if quality is None else PurePath(quality.text).name,
        questions=_hash(run, model.name, "questions_sha256"),
    )


def _rank(machine: str, parts: Sequence[Part], wishes: Wishes) -> Ranking:
    """`parts` are the newest first."""
    rows = [row for part in parts for row in part.model.rows]
    least = _least_batch(rows)
    found = strategies_in(parts)
    options = tuple(joined(each) for each in found)
    called = tuple(dict.fromkeys(part.model.name for part in parts))
    notes = [
        *_measured_twice(options, found),
        *_of_batches(least, sum(row.batch > least for row in rows)),
        *_of_variants(options, found),
        *(text for part in parts for text in same_computation(part.model)),
        *_fed_otherwise(options, found),
        *_not_as_deep(found),
        *_scored_otherwise(options),
        *_asked_otherwise(options),
        *(_changed(parts) if len(parts) > 1 else ()),
    ]
    if len(called) > 1:
        runs = [part.run for part in parts]
        both = "; of what a run has under several, the first counts" * (len(set(runs)) < len(runs))
        notes.append(f"{listing(called)} are names of the same weights{both}.")
    return Ranking(
        model=called[0],
        machine=machine,
        runs=tuple(dict.fromkeys(part.run for part in parts)),
        wishes=wishes,
        options=options,
        found=recommend(options, wishes),
        notes=tuple(dict.fromkeys(notes)),
        also_called=called[1:],
    )


def _least_batch(rows: Sequence[Row]) -> int:
    """The one that is compared: the least that has a speed."""
    timed = [row.batch for row in rows if row.decode_tok_per_s is not None]
    return min(timed or [row.batch for row in rows], default=1)


def strategies_in(parts: Sequence[Part]) -> list[list[Found]]:
    """The rows of each strategy, those of the newest run first; none of a larger batch."""
    batch = _least_batch([row for part in parts for row in part.model.rows])
    found = _found(parts, batch)
    # What is compared must have been measured alike: without depth, where some went without.
    return _found(parts, batch, depth=False) if _some_went_deep(found) else found


def _some_went_deep(found: Sequence[Sequence[Found]]) -> bool:
    """Whether depth is in the memory of some strategies, and not in that of all."""
    rows = [speaking(each).row for each in found]
    deep = {row.memory_without_depth is not None for row in rows if _has_memory(row)}
    return len(deep) > 1


def _has_memory(row: Row) -> bool:
    return row.memory.peak_rss_bytes is not None or bool(row.memory.device_peak_bytes)


def _found(parts: Sequence[Part], batch: int, *, depth: bool = True) -> list[list[Found]]:
    kept = [(part, row) for part in parts for row in part.model.rows if row.batch <= batch]
    names = names_of(list(dict.fromkeys(key_of(row) for _, row in kept)), batch)
    several_texts = len({part.text for part in parts}) > 1
    found: dict[Key, list[Found]] = {}
    for part, row in kept:
        text = part.text if several_texts else None
        option = option_of(row, names[key_of(row)], part.run, text=text, depth=depth)
        compared = {one.label: names.get(key_of(one)) for one in part.model.rows}
        option = replace(option, reference=compared.get(row.reference), questions=part.questions)
        found.setdefault(key_of(row), []).append(Found(part=part, row=row, option=option))
    return list(found.values())


def _measured_twice(options: Sequence[Option], found: Sequence[Sequence[Found]]) -> Iterator[str]:
    """Which strategies several runs have, those of the same runs in one sentence."""
    names: dict[tuple[int, tuple[str, ...], bool], list[str]] = {}
    for option, rows in zip(options, found, strict=True):
        runs = {one.part.run for one in rows if one.row.was_tried}
        if len(runs) > 1:
            newest = next((o for o in rows if o.option.decode_tok_per_s is not None), rows[0])
            key = (len(runs), option.runs, newest is speaking(rows))
            names.setdefault(key, []).append(f"“{option.name}”")
    for (n, runs_of, is_newest), of_them in names.items():
        quiet = "" if is_newest else ", of speed and memory the newest that was not disturbed"
        every = 1 < len(of_them) == len(options)
        who = "Every strategy" if every else listing(of_them)
        was = "was" if every or len(of_them) == 1 else "were"
        yield (
            f"{who} {was} measured in {count(n, 'run')}; of each figure the newest counts{quiet}: "
            f"{listing(runs_of)}."
        )


def _of_batches(least: int, larger: int) -> Iterator[str]:
    if larger:
        yield (
            f"{count(larger, 'cell')} with a larger batch than {least} "
            f"{'is' if larger == 1 else 'are'} not compared: rows of a batch together are always "
            "faster."
        )
    if least > 1:
        yield f"All speeds are those of {least} rows of a batch together."


def _of_variants(options: Sequence[Option], found: Sequence[Sequence[Found]]) -> Iterator[str]:
    """Which answers speak, where there are several samplings or prompts."""
    speak: dict[str, list[str]] = {}  # variant -> strategies
    others: dict[str, None] = {}
    for option, rows in zip(options, found, strict=True):
        judged = next((one for one in rows if one.option.right is not None), None)
        if judged is None:
            continue
        variant = judged.row.variant
        speak.setdefault(variant, []).append(f"“{option.name}”")
        there = (one.row.variant for one in rows if one.part is judged.part)
        others |= dict.fromkeys(f"“{name}”" for name in there if name != variant)
    if len(speak) > 1:
        parts = [
            f"of {listing(names)} those of " + (f"“{one}”" if one else "a run that has no other")
            for one, names in speak.items()
        ]
        yield f"Right answers are {listing(parts)}{'; the report has all' if others else ''}."
    elif others:
        yield (
            f"Right answers are those of “{next(iter(speak))}”; the report has those of "
            f"{listing(list(others))}."
        )


def _fed_otherwise(options: Sequence[Option], found: Sequence[Sequence[Found]]) -> Iterator[str]:
    """Prefill of prompts of other lengths is other work."""
    by_lengths: dict[tuple[int, ...], list[str]] = {}
    for option, rows in zip(options, found, strict=True):
        row = next((one.row for one in rows if one.row.prefill_lengths), None)
        if row is not None:
            lengths = tuple(one.tokens for one in row.prefill_lengths)
            by_lengths.setdefault(lengths, []).append(f"“{option.name}”")
    if len(by_lengths) > 1:
        parts = [
            f"of {listing(names)} on prompts of {listing([f'{n:,}' for n in lengths])} tokens"
            for lengths, names in by_lengths.items()
        ]
        yield f"The prefill speed is {listing(parts)}: not the same work."


def _not_as_deep(found: Sequence[Sequence[Found]]) -> Iterator[str]:
    if _some_went_deep(found):
        yield "Memory is that of speed and answers: not every strategy was measured at depth."


def _scored_otherwise(options: Sequence[Option]) -> Iterator[str]:
    """Agreement on two kinds of tokens is not one figure."""
    by_tokens: dict[tuple[str | None, str | None], list[str]] = {}
    for one in options:
        if one.scored_on is not None:
            by_tokens.setdefault(one.scored, []).append(f"“{one.name}”")
    if len(by_tokens) > 1:
        told: set[str | None] = set()
        parts = []
        for (tokens, _), names in by_tokens.items():
            otherwise = ", asked otherwise" if tokens in told else ""
            parts.append(f"of {listing(names)} on {tokens}{otherwise}")
            told.add(tokens)
        yield f"The agreement is {listing(parts)}, which cannot be compared."


def _asked_otherwise(options: Sequence[Option]) -> Iterator[str]:
    """Nor are right answers to other questions, or to the same ones asked in another way."""
    by_questions: dict[str | None, list[Option]] = {}
    for one in options:
        if one.right is not None:
            by_questions.setdefault(one.questions, []).append(one)
    sets = [[f"“{one.name}”" for one in same] for same in by_questions.values()]
    if len(sets) > 1:
        yield f"The questions are not the same for {_not_compared(sets)}"
    for same in by_questions.values():
        ways: dict[str | None, list[str]] = {}
        for one in same:
            ways.setdefault(one.presented, []).append(f"“{one.name}”")
        if len(ways) > 1:
            what = "The sampling, the prompt or the length of answers"
            yield f"{what} is not the same for {_not_compared(ways.values())}"


def _not_compared(sets: Iterable[list[str]]) -> str:
    said = listing([listing(names) for names in sets])
    return f"{said}: their right answers cannot be compared."


def _changed(parts: Sequence[Part]) -> Iterator[str]:
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
