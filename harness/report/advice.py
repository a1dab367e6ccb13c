"""The answer first: which strategy to run, as a sentence and as a short table.

Puts the choices of `choice.py` into words.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.format import count, listing, number, size
from harness.report.results import against_reference, decode, peak, right, same
from harness.report.table import Table, code, columns, words
from harness.report.values import Choice, ModelSummary

# How a wish is tied: what those that cannot be told apart have in common.
_TIED = {
    "fastest": "not told apart from",
    "smallest": "as small",
    "best answers": "as many right",
}


def choice_table(model: ModelSummary) -> Table | None:
    """Which strategy to run, by what is wanted; None where nothing was measured."""
    if not model.choices:
        return None
    by_label = {row.label: row for row in model.rows}
    wishes: dict[str, list[Choice]] = {}
    for choice in model.choices:
        wishes.setdefault(choice.label, []).append(choice)
    shown = [
        (f"the {listing([choice.wish for choice in choices])}", by_label[label], _ties(choices))
        for label, choices in wishes.items()
    ]
    shown.extend(
        ("the reference", row, None)
        for row in model.rows
        if row.is_reference and row.label not in wishes and row.decode_tok_per_s is not None
    )
    figures = ("Decode, tok/s", "× reference", "Peak memory", "Right answers", "Same as reference")
    return Table(
        caption=f"Which strategy of {model.name} to run",
        columns=columns("If you want", "Run", *figures, numeric=figures),
        rows=tuple(
            (
                words(wish),
                code(row.label, tag=tied),
                decode(row),
                against_reference(row),
                peak(row),
                right(row),
                same(row),
            )
            for wish, row, tied in shown
        ),
    )


def choice_sentence(model: ModelSummary) -> str:
    """The answer first, in words."""
    by_wish = {choice.wish: choice for choice in model.choices}
    rows = {row.label: row for row in model.rows}
    if not by_wish:
        return _nothing_measured(model)
    parts = []
    fastest = by_wish.get("fastest")
    if fastest is not None:
        speed = rows[fastest.label].decode_tok_per_s
        assert speed is not None
        parts.append(f"“{fastest.label}” decodes fastest, at {number(speed.value)} tok/s")
    smallest = by_wish.get("smallest")
    if smallest is not None:
        need = rows[smallest.label].memory.total_peak_bytes
        assert need is not None
        who = "it" if _is(smallest, fastest) else f"“{smallest.label}”"
        parts.append(f"{who} needs the least memory, {size(need)} at its peak")
    best = by_wish.get("best answers")
    if best is not None:
        score = rows[best.label].score
        assert score is not None
        who = "it" if _is(best, fastest) and len(parts) == 1 else f"“{best.label}”"
        lead = "answers best" if len(best.tied) < _scored(model) - 1 else "answers as well as any"
        parts.append(f"{who} {lead}, with {score.right} of {score.of} right")
    return "; ".join(parts) + "."


def _is(choice: Choice, other: Choice | None) -> bool:
    return other is not None and choice.label == other.label


def _scored(model: ModelSummary) -> int:
    return sum(row.score is not None for row in model.rows)


def _nothing_measured(model: ModelSummary) -> str:
    outcomes = [outcome for row in model.rows for outcome in row.outcomes]
    states: dict[str, int] = {}
    for outcome in outcomes:
        states[outcome.state] = states.get(outcome.state, 0) + 1
    if not states:
        return "Nothing was planned."
    parts = [f"{count(n, 'cell')} {state}" for state, n in states.items()]
    reason = next((outcome.reason for outcome in outcomes if outcome.reason), None)
    text = f"Nothing could be measured: {listing(parts)}"
    return f"{text}. The first reason: {reason}." if reason else f"{text}."


def _ties(choices: Sequence[Choice]) -> str | None:
    ties = [f"{_TIED[choice.wish]}: {', '.join(choice.tied)}" for choice in choices if choice.tied]
    return "; ".join(ties) or None
