"""What a reader must know before believing a number: the warnings at the top of a report.

Judges a finished summary; computes no figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from harness.report.answers import unsteady_questions
from harness.report.format import count, listing
from harness.report.order import order_cautions
from harness.report.quiet_tables import answers_apart
from harness.report.trials import CellTrials
from harness.report.values import FactDifference, Row, Summary

QUICKSTART = "builtin:quickstart"
RANDOM = "random:"
_BESIDE_IT = "random:169m"  # the least that fits no cache
OUTSIDE = "distributions_outside"
MOST_CHANGES = 5  # changed facts that have a sentence of their own
WIDE = 0.25  # half an interval, as a share of the value, from which comparing is idle


def cautions(summary: Summary, cells: Sequence[CellTrials]) -> Iterator[str]:
    """One sentence or two per caution, the most important first."""
    yield from _of_run(summary)
    yield from order_cautions(summary.order)
    yield from _of_models(summary)
    yield from _of_facts(summary)
    yield from _of_single_trials(summary)
    yield from _of_noise(summary)
    yield from _of_wide_intervals(summary)
    for cell in cells:
        yield from _of_cell(cell)
    yield from _recorded(summary)


def _of_run(summary: Summary) -> Iterator[str]:
    if not summary.is_finished:
        yield (
            f"This run is not finished: {summary.trials_recorded} of "
            f"{count(summary.trials_planned, 'trial')} have been tried."
        )


def _of_models(summary: Summary) -> Iterator[str]:
    random = [model.name for model in summary.models if model.weights == _BESIDE_IT]
    better = f"see {random[0]}" if random else f"measure `weights: {_BESIDE_IT}` beside it"
    for model in summary.models:
        has_speed = any(_has_speed(row) for row in model.rows)
        if model.weights == QUICKSTART and has_speed:
            yield (
                f"{model.name} is so small that it lives in the CPU’s cache: its speeds say "
                f"nothing about a 3B model; {better}."
            )
        elif model.weights.startswith(RANDOM):
            alike = "speed and memory are" if has_speed else "memory is"
            yield (
                f"{model.name} has random weights of the official shape: its {alike} as of a "
                "trained model of that size; its text would mean nothing."
            )


def _has_speed(row: Row) -> bool:
    return row.decode_tok_per_s is not None or row.latency.depth is not None


def _of_facts(summary: Summary) -> Iterator[str]:
    outside = [fact.value for fact in summary.facts if fact.name == OUTSIDE]
    outside += [v for one in summary.differences if one.name == OUTSIDE for v in one.values]
    strangers = [name for one in outside if one not in (None, "none") for name in one.split(", ")]
    if strangers:
        yield (
            f"Not all that ran is what the environment pins: {listing(_some(strangers))} "
            f"{'was' if len(strangers) == 1 else 'were'} found outside it. Look at PYTHONPATH and "
            "at packages of the user or the system."
        )
    yield from _of_changes([change for change in summary.differences if change.follows is None])


def _of_changes(changes: Sequence[FactDifference]) -> Iterator[str]:
    """Facts that the study does not vary. What must match for a comparison, its declaration says.

    One that nobody declared may matter. Those that need not match are one sentence together.
    """
    matter = [change for change in changes if change.must_match != ()]
    for change in matter[:MOST_CHANGES]:
        yield f"{change.name} changed during the run: {_changed(change)}. {_for_what(change)}"
    others = [change.name for change in matter[MOST_CHANGES:]]
    if others:
        yield (
            f"{count(len(others), 'more fact')} that should have stayed the same changed during "
            f"the run: {listing(_some(others))}. The report’s table of facts that differ has all."
        )
    idle = [change.name for change in changes if change.must_match == ()]
    if idle:
        yield (
            f"Facts that need not be the same for a comparison changed during the run: "
            f"{listing(_some(idle))}. The report’s table of facts that differ has their values."
        )


def _for_what(change: FactDifference) -> str:
    if change.must_match is None:
        return "For what it matters is not known."
    return f"It matters for {listing(change.must_match)}: trials before and after may differ by it."


def _changed(change: FactDifference) -> str:
    if change.says is not None:
        return change.says
    return listing([f"{value} ({count(n, 'record')})" for value, n in change.values.items()])


def _some(names: Sequence[str]) -> list[str]:
    """Names for a sentence: the first few, each once, and how many others there are."""
    once = list(dict.fromkeys(names))
    few = once[:5]
    return few if len(once) == len(few) else [*few, f"{len(once) - len(few)} more"]


def _of_single_trials(summary: Summary) -> Iterator[str]:
    measured = [row for model in summary.models for row in model.rows if row.decode_tok_per_s]
    single = [row for row in measured if len(row.decode_trials) == 1]
    if not single:
        return
    every = len(single) == len(measured)
    who = "Every strategy" if every else f"{len(single)} of {len(measured)} strategies"
    yield (
        f"{who} {'was' if every or len(single) == 1 else 'were'} timed in one trial only: there "
        "is no interval, and no difference can be told from noise."
    )


def _of_noise(summary: Summary) -> Iterator[str]:
    for model in summary.models:
        noisy = [row.label for row in model.rows if row.quiet is not None and row.quiet.spoilt]
        if noisy:
            yield (
                f"{model.name}: the machine was not quiet in any trial of "
                f"{listing([f'“{label}”' for label in noisy])}, so disturbed figures are shown: "
                "the report says by what under “Was the machine quiet?”. Run the study again "
                "when it is; the command doctor names what disturbs."
            )


def _of_wide_intervals(summary: Summary) -> Iterator[str]:
    for model in summary.models:
        wide = [
            row.label
            for row in model.rows
            if (speed := row.decode_tok_per_s) is not None
            and speed.low is not None
            and speed.high is not None
            and speed.high - speed.low > 2 * WIDE * speed.value
        ]
        if wide:
            yield (
                f"{model.name}: decode speed is known to no better than ± {WIDE * 100:.0f} % for "
                f"{listing([f'“{label}”' for label in wide])}: the trials are too few or too "
                "noisy. Raise the number of trials in the study, or quieten the machine."
            )


def _of_cell(cell: CellTrials) -> Iterator[str]:
    name = f"{cell.cell.model}, {cell.cell.strategy}"
    unsteady = unsteady_questions(cell)
    if unsteady:
        yield (
            f"{name}: nondeterministic. Its trials {answers_apart(unsteady)}, though each draws "
            "with the same seed; the first trial’s answers are shown and scored."
        )
    if len({msgspec.json.encode(record.plan) for record in cell.ok}) > 1:
        yield (
            f"{name}: its trials did not all run with the same placement and kernels; the first "
            "trial’s are shown."
        )


def _recorded(summary: Summary) -> Iterator[str]:
    """Warnings of the plan and of the trials, each once."""
    where: dict[str, list[str]] = {}
    for model in summary.models:
        for row in model.rows:
            for warning in row.warnings:
                where.setdefault(warning, []).append(f"{model.name}, {row.label}")
    for warning, names in where.items():
        yield f"{'; '.join(names)}: {warning}"
