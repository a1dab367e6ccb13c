"""The answer first: which strategy to run, as a sentence and as a short table.

Puts the choices of `choice.py` into words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.report.format import count, listing, number, share, size
from harness.report.quality_cells import divergence_text, quality_columns
from harness.report.results import against_reference, decode, peak
from harness.report.table import Cell, Table, code, columns, words
from harness.report.values import Choice, ModelSummary, Row, Wish

_WANT: dict[Wish, str] = {
    "fastest": "speed",
    "smallest": "little memory",
    "nearest": "nearness to the exact model",
    "best answers": "right answers",
}
_BEST_IN: dict[Wish, str] = {
    "fastest": "fastest",
    "smallest": "smallest",
    "nearest": "nearest to the exact model",
    "best answers": "most often right",
}
# In what others cannot be told apart from a winner.
_TIED_IN: dict[Wish, str] = {
    "fastest": "speed",
    "smallest": "memory",
    "nearest": "quality",
    "best answers": "right answers",
}
_NAMED = 3  # of those that cannot be told apart; the tables of results and of quality have all


def choice_table(model: ModelSummary) -> Table | None:
    """Which strategy to run, by what is wanted; None where nothing was measured."""
    if not model.choices:
        return None
    by_label = {row.label: row for row in model.rows}
    wishes = _by_label(model.choices)
    shown = [
        (
            listing([_WANT[choice.wish] for choice in choices]),
            by_label[label],
            _told_in_brief(choices),
        )
        for label, choices in wishes.items()
    ]
    least = min(row.batch for row in model.rows)  # the choice is between rows of this batch
    shown.extend(
        ("the reference", row, None)
        for row in model.rows
        if row.is_reference
        and row.batch == least
        and row.label not in wishes
        and row.decode_tok_per_s is not None
    )
    figures: list[tuple[str, Callable[[Row], Cell]]] = [
        ("Decode, tok/s", decode),
        ("× reference", against_reference),
        ("Peak memory", peak),
    ]
    quality = quality_columns(model)
    figures.extend((one.title, one.cell) for one in quality)
    titles = [title for title, _ in figures]
    return Table(
        caption=f"Which strategy of {model.name} to run",
        columns=columns(
            "If you want",
            "Run",
            *titles,
            numeric=titles,
            what={one.title: one.what for one in quality},
        ),
        rows=tuple(
            (words(wish), code(row.label, tag=tied), *(cell(row) for _, cell in figures))
            for wish, row, tied in shown
        ),
    )


def choice_sentence(model: ModelSummary) -> str:
    """The answer first, in words: each winner with its speed, memory and quality."""
    if not model.choices:
        return _nothing_measured(model)
    rows = {row.label: row for row in model.rows}
    sentences = []
    for label, choices in _by_label(model.choices).items():
        best_in = listing([_BEST_IN[choice.wish] for choice in choices])
        is_nearest = any(choice.wish == "nearest" for choice in choices)
        figures = _figures(rows[label], with_divergence=is_nearest)
        ties = _told_with_names(choices)
        sentences.append(
            f"{best_in[0].upper()}{best_in[1:]}: “{label}”, {', '.join(figures)}"
            + (f" ({ties})." if ties else ".")
        )
    return " ".join(sentences)


def _figures(row: Row, *, with_divergence: bool) -> list[str]:
    figures = []
    if row.decode_tok_per_s is not None:
        figures.append(f"{number(row.decode_tok_per_s.value)} tok/s")
    total = row.memory.total_peak_bytes
    if total is not None:
        figures.append(f"{size(total)} at its peak")
    quality = None if row.quality is None else row.quality.headline
    if quality is not None and quality.agreement is not None:
        figures.append(f"{share(quality.agreement)} agreement with the exact model")
    if with_divergence:
        figures.append(f"a mean KL of {divergence_text(row)}")
    if row.score is not None:
        figures.append(f"{row.score.right} of {count(row.score.of, 'answer')} right")
    return figures


def _by_label(choices: Sequence[Choice]) -> dict[str, list[Choice]]:
    """The choices of each winner."""
    won: dict[str, list[Choice]] = {}
    for choice in choices:
        won.setdefault(choice.label, []).append(choice)
    return won


def _nothing_measured(model: ModelSummary) -> str:
    outcomes = [outcome for row in model.rows for outcome in row.outcomes]
    states: dict[str, int] = {}
    for outcome in outcomes:
        states[outcome.state] = states.get(outcome.state, 0) + 1
    if not states:
        return "Nothing was planned."
    parts = [f"{count(n, 'cell')} {state}" for state, n in states.items()]
    reason = next((outcome.reason for outcome in outcomes if outcome.reason), None)
    what = "Nothing tells them apart" if "ok" in states else "Nothing could be measured"
    text = f"{what}: {listing(parts)}"
    return f"{text}. The first reason: {reason}." if reason else f"{text}."


def _told_with_names(choices: Sequence[Choice]) -> str:
    """Which others cannot be told apart from the winner, and in what: no group is told twice."""
    parts = []
    for names, what in _ties(choices).items():
        more = len(names) - _NAMED
        named = [f"“{name}”" for name in names[:_NAMED]]
        others = [*named, *([count(more, "other")] if more > 0 else [])]
        parts.append(f"in {listing(what)} not told apart from {listing(others)}")
    return "; ".join(parts)


def _told_in_brief(choices: Sequence[Choice]) -> str | None:
    """The same beside a name: how many there are, for the sentence above has their names."""
    parts = [
        f"in {listing(what)} not told apart from {count(len(names), 'other')}"
        for names, what in _ties(choices).items()
    ]
    return "; ".join(parts) or None


def _ties(choices: Sequence[Choice]) -> dict[tuple[str, ...], list[str]]:
    """Those that cannot be told apart from the winner -> in what they cannot."""
    found: dict[frozenset[str], tuple[tuple[str, ...], list[str]]] = {}
    for choice in choices:
        if choice.tied:
            _, what = found.setdefault(frozenset(choice.tied), (choice.tied, []))
            what.append(_TIED_IN[choice.wish])
    return dict(found.values())
