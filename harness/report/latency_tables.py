"""The tables of latency: what a user waits for, part by part, with each figure's definition.

Turns a summary's figures into texts; decides nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from harness.report.format import interval, number, seconds, seconds_interval
from harness.report.latency_values import AnswerTimes, DepthSweep, TokenTimes
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import ModelSummary, Row
from harness.stats import Estimate, Slope, support

FLAT_WITHIN = 0.02  # per 1,000 tokens of context
SLOPE = "Slope, % per 1,000"  # tokens of context
NO_FIRST_TOKEN = "every answer ended before its first token"
NO_STEP = "no token was fed after the prompt"
_PER_SECOND = ", tok/s"
_ONE_DEPTH = "one depth has no slope"
_WAITS_REMARKS = (
    (
        "Load: from the file to a model that is ready. First pass: the very first prompt and steps "
        "of a fresh process, end to end, when all is cold. End to end: the same once warm, from "
        "handing over the last prompt to having the logits of the last step, sampling and text "
        "apart. Medians over trials, with the 95 % interval below where there is one; “too noisy "
        "to tell” where its ends differ by more than ten times."
    ),
    (
        "First token: from handing over a question’s text to the first token drawn that is none of "
        "the stop tokens: tokenising, prefill and one draw. Median over the answers."
    ),
)
_STEPS_REMARKS = (
    (
        "Time of one step, from handing over a token of each row to having the next logits, the "
        "device waited for. Percentiles are of the steps of one trial, all its passes together; "
        "shown is their median over trials and, where there is one, its 95 % interval. The maximum "
        "is of all steps, those of all trials together."
    ),
)
_LENGTHS_REMARKS = (
    (
        "A prompt of so many tokens in each row of the batch, from an empty state to the logits "
        "behind its last token; tokens of all rows together. Medians over trials, with the 95 % "
        "interval below where there is one."
    ),
)

_Shown = tuple[str, Callable[[Row], Cell]]  # a column's title, and its cell of a row


def latency_tables(model: ModelSummary) -> tuple[Table, ...]:
    """What each strategy makes a user wait for, each narrow enough for a page."""
    rows = [row for row in model.rows if _has_latency(row)]
    if not rows:
        return ()
    waits = _table(f"Latency of {model.name}", rows, [*_BEFORE, _END], _WAITS_REMARKS)
    steps = _table(
        f"Decode steps of {model.name}", rows, [_COUNT, *_STEPS, _MAXIMUM], _STEPS_REMARKS
    )
    tables = [waits, steps] if any(row.token_times for row in rows) else [waits]
    lengths = sorted({one.tokens for row in rows for one in row.prefill_lengths})
    if len(lengths) < 2:  # one length is in the table of results
        return tuple(tables)
    prefills = [(f"{length:,} tokens", _prefill_of(length)) for length in lengths]
    caption = f"Prefill of {model.name} by prompt length, tok/s"
    tables.append(_table(caption, rows, prefills, _LENGTHS_REMARKS))
    return tuple(tables)


def terminal_table(model: ModelSummary) -> Table | None:
    """The same for a terminal: a few columns, no intervals."""
    rows = [row for row in model.rows if _has_latency(row)]
    if not rows:
        return None
    caption = f"{model.name}, latency: medians over trials (what each is: report.html)"
    shown = [(_in_two_lines(title), cell) for title, cell in (*_BEFORE, *_STEPS, _END)]
    table = _table(caption, rows, shown, ())
    return structs.replace(
        table, rows=tuple((words(first.text), *rest) for first, *rest in table.rows)
    )


def _table(
    caption: str, rows: Sequence[Row], shown: Sequence[_Shown], remarks: tuple[str, ...]
) -> Table:
    titles = [title for title, _ in shown]
    return Table(
        caption=caption,
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple((code(row.label), *(cell(row) for _, cell in shown)) for row in rows),
        remarks=remarks,
    )


def _in_two_lines(title: str) -> str:
    head, _, tail = title.rpartition(" ")
    return f"{head}\n{tail}" if head else tail


def answer_table(model: ModelSummary) -> Table | None:
    """The parts of an answer; None where no answer was taken apart."""
    parts = [(row, row.latency.answers) for row in model.rows]
    titles = ("Answers", "Tokenise", "Prefill", "Draw", "First token", "Step", "Text", "End to end")
    rows = tuple(_answer_row(row, times) for row, times in parts if times is not None)
    if not rows:
        return None
    return Table(
        caption=f"The parts of an answer of {model.name}",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=rows,
        remarks=(
            (
                "Medians over the answers, and over trials where there are several. Tokenise: from "
                "the prompt’s text to its tokens. Draw: sampling one token from the logits. Step: "
                "decoding one token, without the draw. Text: from an answer’s tokens to its text, "
                "looking for stop strings included, in all. End to end: from the prompt’s text to "
                "the whole answer; of a single answer it is the sum of its parts."
            ),
        ),
    )


def depth_table(model: ModelSummary) -> Table:
    """Decode speed behind each depth of context, and the slope."""
    sweeps = [(row, row.latency.depth) for row in model.rows if row.latency.depth is not None]
    depths = sorted({one.tokens for _, sweep in sweeps if sweep for one in sweep.speeds})
    titles = tuple(f"After {tokens:,}{_PER_SECOND}" for tokens in depths)
    return Table(
        caption=f"Decode speed of {model.name} behind so many tokens of context",
        columns=columns("Strategy", *titles, SLOPE, "Verdict", numeric=(*titles, SLOPE)),
        rows=tuple(
            (code(row.label), *_depth_cells(sweep, depths)) for row, sweep in sweeps if sweep
        ),
        remarks=(
            (
                "The context is fed in chunks with the state carried on, and is not timed; then "
                "the depths are visited in shuffled order. Slope: by how much the time per token "
                "grows per 1,000 tokens of context, in percent of the time at the least depth: a "
                "least-squares line per trial, their mean, and below it its 95 % interval over "
                f"trials. Flat: the interval lies within ± {FLAT_WITHIN * 100:.0f} %."
            ),
        ),
    )


def terminal_depth_table(model: ModelSummary) -> Table | None:
    """The same for a terminal: the least and the largest depth; None where none was visited."""
    whole = depth_table(model)
    if not whole.rows:
        return None
    first, last = whole.columns[1], whole.columns[-3]
    ends = (1,) if first == last else (1, len(whole.columns) - 3)
    kept = (0, *ends, -2, -1)
    depths = [whole.columns[at].title.removesuffix(_PER_SECOND) for at in ends]
    titles = ["Strategy", *depths, SLOPE]
    return Table(
        caption=f"{model.name}, decode tok/s with context behind it "
        f"(flat: slope within ± {FLAT_WITHIN * 100:.0f} %)",
        columns=columns(*titles, "Verdict", numeric=titles[1:]),
        rows=tuple(tuple(row[at] for at in kept) for row in whole.rows),
    )


def batch_table(model: ModelSummary) -> Table:
    """Decode speed at each batch size, of all rows together and of one."""
    titles = ("Rows at once", "In all, tok/s", "Per row, tok/s")
    return Table(
        caption=f"Decode speed of {model.name} by batch size",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(
            (
                code(row.label),
                figure(f"{row.batch:,}"),
                _speed(speed),
                figure(number(speed.value / row.batch)),
            )
            for row in model.rows
            if (speed := row.decode_tok_per_s) is not None
        ),
    )


def verdict_text(slope: Slope | None) -> str:
    """`flat`, `not flat` or `cannot tell`."""
    return "cannot tell" if slope is None else slope.verdict(FLAT_WITHIN)


def slope_text(slope: Slope) -> str:
    """The slope in percent per 1,000 tokens, such as `+0.31`."""
    return _signed(slope.value * 100)


def _time(value: Estimate | None, why: str | None) -> Cell:
    """A time in seconds or milliseconds, with its interval."""
    if value is None:
        return figure(None, why)
    return figure(seconds(value.value), tag=seconds_interval(value.low, value.high))


def _first_token(row: Row) -> Cell:
    answers = row.latency.answers
    if answers is None:
        return figure(None, row.missing.get("answers"))
    return _time(answers.first_token_s, NO_FIRST_TOKEN)


def _step(q: float, of: Callable[[TokenTimes], Estimate | None]) -> _Shown:
    def cell(row: Row) -> Cell:
        times = row.token_times
        if times is None:
            return figure(None, row.missing.get("token_times"))
        return _time(of(times), _too_few(q, times.per_trial))

    return f"Decode p{q * 100:.0f}", cell


def _too_few(q: float, per_trial: int) -> str:
    return f"p{q * 100:.0f} needs {support(q)} steps in a trial, and there are {per_trial}"


def _n_steps(row: Row) -> Cell:
    times = row.token_times
    return figure(None if times is None else f"{times.n:,}", row.missing.get("token_times"))


def _slowest(row: Row) -> Cell:
    times = row.token_times
    text = None if times is None else seconds(times.maximum_s)
    return figure(text, row.missing.get("token_times"))


# The columns, in the order of what a user waits for.
_BEFORE: tuple[_Shown, ...] = (
    ("Load", lambda row: _time(row.load_s, row.missing.get("load_s"))),
    (
        "First pass",
        lambda row: _time(row.latency.first_pass_s, row.missing.get("first_pass_s")),
    ),
    ("First token", _first_token),
)
_STEPS: tuple[_Shown, ...] = (
    _step(0.5, lambda times: times.p50_s),
    _step(0.9, lambda times: times.p90_s),
    _step(0.99, lambda times: times.p99_s),
)
_COUNT: _Shown = ("Steps timed", _n_steps)
_MAXIMUM: _Shown = ("Maximum", _slowest)
_END: _Shown = (
    "End to end",
    lambda row: _time(row.latency.end_to_end_s, row.missing.get("end_to_end_s")),
)


def _has_latency(row: Row) -> bool:
    parts = (row.latency.first_pass_s, row.latency.end_to_end_s, row.latency.answers)
    return any(part is not None for part in (*parts, row.token_times))


def _prefill_of(length: int) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        speed = next((one.tok_per_s for one in row.prefill_lengths if one.tokens == length), None)
        if speed is None:
            return figure(None, row.missing.get("prefill_tok_per_s", "this length was not fed"))
        return _speed(speed)

    return cell


def _speed(speed: Estimate) -> Cell:
    return figure(number(speed.value), tag=interval(speed.low, speed.high, speed.value))


def _answer_row(row: Row, times: AnswerTimes) -> tuple[Cell, ...]:
    return (
        code(row.label),
        figure(f"{times.n:,}"),
        _time(times.tokenize_s, None),
        _time(times.prefill_s, None),
        _time(times.sample_s, None),
        _time(times.first_token_s, NO_FIRST_TOKEN),
        _time(times.decode_s, NO_STEP),
        _time(times.text_s, None),
        _time(times.end_to_end_s, None),
    )


def _depth_cells(sweep: DepthSweep, depths: list[int]) -> tuple[Cell, ...]:
    speeds = {one.tokens: one.tok_per_s for one in sweep.speeds}
    cells = []
    for tokens in depths:
        one = speeds.get(tokens)
        if one is None:
            cells.append(figure(None, "this depth was not visited"))
        else:
            cells.append(_speed(one))
    slope = sweep.slope
    if slope is None:
        return (*cells, figure(None, _ONE_DEPTH), figure(None, _ONE_DEPTH))
    ends = None
    if slope.low is not None and slope.high is not None:
        ends = f"{_signed(slope.low * 100)} to {_signed(slope.high * 100)}"
    return (*cells, figure(slope_text(slope), tag=ends), figure(verdict_text(slope)))


def _signed(percent: float) -> str:
    return f"{round(percent, 2) + 0.0:+.2f}".replace("-", "−")  # never "−0.00"
