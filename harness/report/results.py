"""The tables of results: all strategies of a model side by side.

Turns a summary's figures into texts; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import structs

from harness.report.format import (
    count,
    elided,
    in_words,
    interval,
    listing,
    number,
    percent,
    seconds,
    size,
)
from harness.report.memory import forecast_text
from harness.report.quality_cells import definitions, is_scored, quality_columns
from harness.report.quiet_tables import outcome_cell
from harness.report.shorter import without_empty_columns
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import CellOutcome, ModelSummary, Row
from harness.stats import Estimate, Ratio

_ACROSS = 6  # categories that stand side by side
NAME_COLUMNS = 34  # letters of a strategy beside a bar or a line
_REMARKS = (
    (
        "Speeds are medians over trials, of all rows of a batch together; below them, where there "
        "is more than one trial, the 95 % interval of the trials’ centre (Student’s t of the "
        "logarithms), and of ratios Welch’s. “Too noisy to tell”: its ends differ by more than ten "
        "times; they are with the numbers of the plots."
    ),
    (
        "Peak memory is the process’s largest resident set in any trial of speed or answers, and "
        "of depth where every measured strategy has that; the model’s part is what came after the "
        "libraries were imported, and below it stands what the forecast predicted, also as so many "
        "times (×) what was measured."
    ),
)


def result_table(model: ModelSummary) -> Table:
    """Every strategy of a model: speed, memory, quality and outcome in one row each.

    Without the figures that no row has.
    """
    devices = device_names(model.rows)
    quality = quality_columns(model)
    scored = is_scored(model)
    shown: list[tuple[str, Callable[[Row], Cell]]] = [
        ("Decode, tok/s", decode),
        *per_row_columns(model),
        ("× reference", against_reference),
        *((one.title, one.cell) for one in quality),
        ("Prefill, tok/s", _prefill),
        # Beside quality there is no room for it; it is with the latencies.
        *([] if scored else [("Load", _load)]),
        ("Peak memory", _peak_with_model),
        *((f"Peak on {name}", _device(name)) for name in devices),
    ]
    titles = [title for title, _ in shown]
    table = Table(
        caption=f"All strategies of {model.name}",
        columns=columns(
            "Strategy",
            *titles,
            "Outcome",
            numeric=titles,
            what={one.title: one.what for one in quality},
        ),
        rows=tuple(
            (
                code(row.label, tag="reference" if row.is_reference else None),
                *(cell(row) for _, cell in shown),
                outcome_cell(row, outcome_text(row)),
            )
            for row in model.rows
        ),
        remarks=(*_REMARKS, *definitions(model), *same_computation(model)),
    )
    return without_empty_columns(table)


def same_computation(model: ModelSummary) -> Iterator[str]:
    """A sentence for each row that stands for several strategies of the study."""
    for row in model.rows:
        if row.also:
            others = listing([f"“{name}”" for name in row.also])
            are, stand = ("is", "stands") if len(row.also) == 1 else ("are", "stand")
            yield (
                f"{others} {are} the same computation as “{row.strategy}” on this model, and "
                f"{stand} in its row."
            )


def per_row_columns(model: ModelSummary) -> list[tuple[str, Callable[[Row], Cell]]]:
    """Decode speed of each row of a batch; none where no strategy ran more than one."""
    return [("Per row, tok/s", per_row)] if any(row.batch > 1 for row in model.rows) else []


def per_row(row: Row) -> Cell:
    """Decode speed of one row of the batch; `decode` is of all rows together."""
    value = row.decode_tok_per_s
    text = None if value is None else number(value.value / row.batch)
    return figure(text, row.missing.get("decode_tok_per_s"))


def decode(row: Row) -> Cell:
    """Decode speed with its interval."""
    return _with_interval(row.decode_tok_per_s, row.missing.get("decode_tok_per_s"))


def against_reference(row: Row) -> Cell:
    """Decode speed as a multiple of the reference's."""
    if row.is_reference and row.decode_ratio is not None:
        return figure("1")
    return _with_interval(row.decode_ratio, row.missing.get("decode_ratio"))


def peak(row: Row) -> Cell:
    """Peak of the host's memory; what lies on devices is named below it."""
    value = row.memory.peak_rss_bytes
    devices = [f"{size(n)} on {name}" for name, n in row.memory.device_peak_bytes.items()]
    tag = f"+ {listing(devices)}" if devices else None
    return figure(
        None if value is None else size(value), row.missing.get("peak_rss_bytes"), tag=tag
    )


def outcome_text(row: Row) -> str:
    """How the row's cells ended: one word where they agree, else which ended how.

    Then whether its trials answered with different tokens.
    """
    texts: dict[str, list[str]] = {}
    for outcome in row.outcomes:
        texts.setdefault(_outcome(outcome), []).append(outcome.workload)
    said = "; ".join(
        text if len(texts) == 1 else f"{listing(workloads)}: {text}"
        for text, workloads in texts.items()
    )
    return f"{said}, nondeterministic" if row.unsteady else said


def category_table(model: ModelSummary) -> Table | None:
    """Right answers by category; None where no question has a pattern."""
    scored = [row for row in model.rows if row.score is not None]
    if not scored:
        return None
    names = tuple(dict.fromkeys(name for row in scored for name in row.categories))
    rows = []
    for row in scored:
        score = row.score
        assert score is not None
        of_each = [row.categories.get(name) for name in names]
        rows.append(
            (
                code(row.label),
                figure(f"{score.right} of {score.of}"),
                figure(f"{percent(score.low)} to {percent(score.high)}"),
                *(
                    figure(None, "no question of this category was answered")
                    if one is None
                    else figure(f"{one.right} of {one.of}")
                    for one in of_each
                ),
            )
        )
    titles = ("All", "95\u00a0% interval", *names)
    table = Table(
        caption=f"Right answers of {model.name} by category",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(rows),
        remarks=(
            "The interval (Wilson) is of the share of right answers among questions like these.",
        ),
    )
    # Many categories go down the page, where there is room.
    return _turned(table, "Category") if len(names) > _ACROSS and len(names) > len(rows) else table


def _turned(table: Table, corner: str) -> Table:
    """Rows as columns: what the first of each row was is a title now."""
    others = table.columns[1:]
    heads, *rows = zip(*table.rows, strict=True)
    titles = tuple(cell.text for cell in heads)
    return structs.replace(
        table,
        columns=columns(corner, *titles, numeric=titles),
        rows=tuple(
            (words(column.title), *cells) for column, cells in zip(others, rows, strict=True)
        ),
    )


def device_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """Devices on which any row has a peak."""
    return tuple(dict.fromkeys(name for row in rows for name in row.memory.device_peak_bytes))


def row_name(row: Row, *, of_speed: bool = False) -> str:
    """What a row is called in a plot, short enough to leave room for what is plotted.

    In a plot `of_speed` it says whether no trial of the speed was quiet.
    """
    remarks = ["reference"] if row.is_reference else []
    if of_speed and any(
        one.workload == "speed" and one.state == "disturbed" for one in row.outcomes
    ):
        remarks.append("disturbed")
    return elided(row.label, NAME_COLUMNS) + (f" ({', '.join(remarks)})" if remarks else "")


def trials_text(rows: Sequence[Row]) -> str:
    """`3 trials`, or `1 to 3 trials`, behind the decode speeds of the rows."""
    return estimates_text([row.decode_tok_per_s for row in rows])


def estimates_text(values: Sequence[Estimate | None]) -> str:
    """The same, behind any estimates."""
    return numbers_of_trials([value.n for value in values if value is not None])


def numbers_of_trials(ns: Iterable[int]) -> str:
    """The same, of the numbers of trials behind what is shown."""
    least, *more = sorted({n for n in ns if n}) or [0]
    return f"{least} to {count(more[-1], 'trial')}" if more else count(least, "trial")


def _prefill(row: Row) -> Cell:
    return _with_interval(row.prefill_tok_per_s, row.missing.get("prefill_tok_per_s"))


def _with_interval(value: Estimate | Ratio | None, why: str | None) -> Cell:
    if value is None:
        return figure(None, why)
    return figure(number(value.value), tag=interval(value.low, value.high, value.value))


def _load(row: Row) -> Cell:
    value = row.load_s
    return figure(None if value is None else seconds(value.value), row.missing.get("load_s"))


def _peak_with_model(row: Row) -> Cell:
    """The host's peak, and the part of it that came after importing."""
    used = row.memory
    model = "model: not known" if used.model_bytes is None else f"model {size(used.model_bytes)}"
    if used.forecast_bytes is not None:
        model = f"{model}\npredicted {forecast_text(used.forecast_bytes, used.model_bytes)}"
    text = None if used.peak_rss_bytes is None else size(used.peak_rss_bytes)
    return figure(text, row.missing.get("peak_rss_bytes"), tag=model)


def _device(name: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row.memory.device_peak_bytes.get(name)
        why = row.missing.get("peak_rss_bytes", "the strategy puts nothing on this device")
        return figure(None if value is None else size(value), why)

    return cell


def _outcome(outcome: CellOutcome) -> str:
    if outcome.state in ("ok", "disturbed", "not finished", "skipped", "not run"):
        return outcome.state
    kind = in_words(outcome.kind or "not finished")
    if outcome.state == "partial":
        return f"{outcome.ok} of {count(outcome.trials, 'trial')} ok, {kind}"
    return f"failed: {kind}"
