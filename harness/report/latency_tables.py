"""The tables of latency: what a user waits for, part by part, with each figure's definition.

Turns a summary's figures into texts; decides nothing and draws nothing.
"""

from __future__ import annotations

from harness.report.format import interval, number, seconds
from harness.report.latency_values import AnswerTimes, DepthSweep, TokenTimes
from harness.report.numbers import PERCENTILES, too_few
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import ModelSummary, Row
from harness.stats import Estimate, Slope

FLAT_WITHIN = 0.02  # per 1,000 tokens of context
SLOPE = "Slope, % per 1,000"  # tokens of context
NO_FIRST_TOKEN = "every answer ended before its first token"
NO_STEP = "no token was fed after the prompt"
_QUANTILES = ((0.5, "p50_s"), (0.9, "p90_s"), (0.99, "p99_s"))
_ONE_DEPTH = "one depth has no slope"
_DEFINITIONS = (
    (
        "Load: from the file to a model that is ready. First pass: the very first prompt and steps "
        "of a fresh process, end to end, when all is cold. End to end: the same once warm, from "
        "handing over the last prompt to having the logits of the last step, sampling and text "
        "apart. Medians over trials, with the 95 % interval below where there is one."
    ),
    (
        "First token: from handing over a question’s text to the first token drawn that is none of "
        "the stop tokens: tokenising, prefill and one draw. Median over the answers."
    ),
    (
        "Decode: time of one step, from handing over a token of each row to having the next "
        "logits, the device waited for. " + PERCENTILES
    ),
)


def latency_table(model: ModelSummary) -> Table | None:
    """What each strategy makes a user wait for; None where nothing of it was measured."""
    rows = [row for row in model.rows if _has_latency(row)]
    if not rows:
        return None
    lengths = sorted({one.tokens for row in rows for one in row.prefill_lengths})
    prefills = [f"Prefill of {length:,}, tok/s" for length in lengths]
    titles = ("Load", "First pass", "First token", *prefills)
    steps = tuple(f"Decode p{q * 100:.0f}" for q, _ in _QUANTILES)
    return Table(
        caption=f"Latency of {model.name}",
        columns=columns(
            "Strategy",
            *titles,
            *steps,
            "End to end",
            numeric=(*titles, *steps, "End to end"),
        ),
        rows=tuple(
            (
                code(row.label),
                time_cell(row.load_s, row.missing.get("load_s")),
                time_cell(row.latency.first_pass_s, row.missing.get("first_pass_s")),
                first_token(row),
                *(_prefill(row, length) for length in lengths),
                *decode_steps(row),
                time_cell(row.latency.end_to_end_s, row.missing.get("end_to_end_s")),
            )
            for row in rows
        ),
        remarks=_DEFINITIONS,
    )


def terminal_table(model: ModelSummary) -> Table | None:
    """The same for a terminal: a few columns, no intervals."""
    rows = [row for row in model.rows if _has_latency(row)]
    if not rows:
        return None
    steps = tuple(f"Decode\np{q * 100:.0f}" for q, _ in _QUANTILES)
    titles = ("Load", "First\npass", "First\ntoken", *steps, "End to\nend")
    return Table(
        caption=f"{model.name}, latency: medians over trials (what each is: report.html)",
        columns=columns("Strategy", *titles, numeric=titles),
        rows=tuple(
            (
                words(row.label),
                time_cell(row.load_s, row.missing.get("load_s")),
                time_cell(row.latency.first_pass_s, row.missing.get("first_pass_s")),
                first_token(row),
                *decode_steps(row),
                time_cell(row.latency.end_to_end_s, row.missing.get("end_to_end_s")),
            )
            for row in rows
        ),
    )


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
    titles = tuple(f"After {tokens:,}, tok/s" for tokens in depths)
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
                figure(number(speed.value), tag=interval(speed.low, speed.high, speed.value)),
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


def time_cell(value: Estimate | None, why: str | None) -> Cell:
    """A time in seconds or milliseconds, with its interval."""
    if value is None:
        return figure(None, why)
    ends = None
    if value.low is not None and value.high is not None:
        ends = f"{seconds(value.low)} to {seconds(value.high)}"
    return figure(seconds(value.value), tag=ends)


def first_token(row: Row) -> Cell:
    """The time to the first token of an answer."""
    answers = row.latency.answers
    if answers is None:
        return figure(None, row.missing.get("answers"))
    return time_cell(answers.first_token_s, NO_FIRST_TOKEN)


def decode_steps(row: Row) -> tuple[Cell, ...]:
    """p50, p90 and p99 of the decode steps."""
    times = row.token_times
    if times is None:
        return (figure(None, row.missing.get("token_times")),) * len(_QUANTILES)
    return tuple(time_cell(_of(times, name), too_few(q, times.per_trial)) for q, name in _QUANTILES)


def _of(times: TokenTimes, name: str) -> Estimate | None:
    value: Estimate | None = getattr(times, name)
    return value


def _has_latency(row: Row) -> bool:
    parts = (row.latency.first_pass_s, row.latency.end_to_end_s, row.latency.answers)
    return any(part is not None for part in (*parts, row.token_times))


def _prefill(row: Row, length: int) -> Cell:
    speed = next((one.tok_per_s for one in row.prefill_lengths if one.tokens == length), None)
    if speed is None:
        return figure(None, row.missing.get("prefill_tok_per_s", "this length was not fed"))
    return figure(number(speed.value), tag=interval(speed.low, speed.high, speed.value))


def _answer_row(row: Row, times: AnswerTimes) -> tuple[Cell, ...]:
    return (
        code(row.label),
        figure(f"{times.n:,}"),
        time_cell(times.tokenize_s, None),
        time_cell(times.prefill_s, None),
        time_cell(times.sample_s, None),
        time_cell(times.first_token_s, NO_FIRST_TOKEN),
        time_cell(times.decode_s, NO_STEP),
        time_cell(times.text_s, None),
        time_cell(times.end_to_end_s, None),
    )


def _depth_cells(sweep: DepthSweep, depths: list[int]) -> tuple[Cell, ...]:
    speeds = {one.tokens: one.tok_per_s for one in sweep.speeds}
    cells = []
    for tokens in depths:
        one = speeds.get(tokens)
        if one is None:
            cells.append(figure(None, "this depth was not visited"))
        else:
            cells.append(figure(number(one.value), tag=interval(one.low, one.high, one.value)))
    slope = sweep.slope
    if slope is None:
        return (*cells, figure(None, _ONE_DEPTH), figure(None, _ONE_DEPTH))
    ends = None
    if slope.low is not None and slope.high is not None:
        ends = f"{_signed(slope.low * 100)} to {_signed(slope.high * 100)}"
    return (*cells, figure(slope_text(slope), tag=ends), figure(verdict_text(slope)))


def _signed(percent: float) -> str:
    return f"{round(percent, 2) + 0.0:+.2f}".replace("-", "−")  # never "−0.00"
