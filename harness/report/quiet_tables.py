"""The tables of how quiet the machine was: one per model, and one of what the figures are.

Turns figures into texts; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.validity import DEFINITIONS
from harness.report.format import count, listing, number
from harness.report.quiet import Quiet, missing_figures, shown_figures
from harness.report.table import Cell, Table, code, columns, figure, words
from harness.report.values import ModelSummary, Row

_REMARK = (
    "Seen from the loaded model to the last result of each trial, by the harness, about once a "
    "second. A figure is of the whole machine, not of the strategy. Noisy attempts are left out "
    "where another one of the same trials was quiet."
)
_GPU_REMARK = (
    "Of GPUs: samples of NVML, a second apart. Slowed by: its reasons why a clock was not higher, "
    "at any sample; a power limit is how the card is meant to run."
)


def quiet_tables(models: Sequence[ModelSummary]) -> tuple[Table, ...]:
    """What was seen beside the trials of each model, and once what the figures are.

    All models have the same columns. Empty where no trial was watched.
    """
    found = [row.quiet for model in models for row in model.rows if row.quiet is not None]
    if not found:
        return ()
    names = shown_figures(found)
    of_models = [(_quiet_table(model, names), _gpu_table(model)) for model in models]
    gpus = any(table is not None for _, table in of_models)
    shown = (table for pair in of_models for table in pair if table is not None)
    return (*shown, _definitions(found, names, gpus=gpus))


def _quiet_table(model: ModelSummary, names: Sequence[str]) -> Table | None:
    """One row per strategy; None where none was watched."""
    titles = ["Disturbed trials", *(DEFINITIONS[name].title for name in names)]
    what = {DEFINITIONS[name].title: f"{DEFINITIONS[name].what}." for name in names}
    rows = tuple(
        (
            code(row.label),
            _disturbed(row.quiet),
            *(_figure(row.quiet, name) for name in names),
            words(_beyond(row.quiet)),
        )
        for row in model.rows
        if row.quiet is not None
    )
    if not rows:
        return None
    return Table(
        caption=f"Was the machine quiet? {model.name}, the worst of the trials that count",
        columns=columns(
            "Strategy", *titles, "Beyond the limits of the study", numeric=titles, what=what
        ),
        rows=rows,
    )


def _definitions(found: Sequence[Quiet], names: Sequence[str], *, gpus: bool) -> Table:
    """What the figures of all these tables are, and why others are not among them."""
    return Table(
        caption="What was watched beside the trials",
        columns=columns("Figure", "What it is"),
        rows=tuple(
            (words(DEFINITIONS[name].title), words(DEFINITIONS[name].what)) for name in names
        ),
        remarks=(
            _REMARK,
            *([_GPU_REMARK] if gpus else []),
            *_parent(found),
            *(f"{listing(titles)}: – ({why})." for why, titles in missing_figures(found).items()),
        ),
    )


def _gpu_table(model: ModelSummary) -> Table | None:
    """Clocks, heat and power of the GPUs while each strategy ran; None without a GPU."""
    rows = tuple(
        (
            code(row.label),
            words(f"{gpu.index}: {gpu.name}"),
            _of_gpu(gpu.sm_min_mhz),
            _of_gpu(gpu.sm_median_mhz),
            _of_gpu(gpu.max_celsius),
            _of_gpu(gpu.mean_watts),
            words(", ".join(gpu.slowed_by) or "nothing"),
        )
        for row in model.rows
        if row.quiet is not None
        for gpu in row.quiet.gpus
    )
    if not rows:
        return None
    numeric = ("Clock, lowest, MHz", "Clock, median, MHz", "Highest, °C", "Power, mean, W")
    return Table(
        caption=f"GPUs while {model.name} ran, in the trial in which they were hottest",
        columns=columns("Strategy", "GPU", *numeric, "Slowed by", numeric=numeric),
        rows=rows,
    )


def outcome_cell(row: Row, text: str, *, in_full: bool = True) -> Cell:
    """How a row ended, with a footnote where it was disturbed or nondeterministic.

    By what it was disturbed is said `in_full` only.
    """
    notes = [None if row.quiet is None else row.quiet.note(in_full=in_full), _unsteady(row)]
    return Cell(text=text, why="; ".join(filter(None, notes)) or None)


def _unsteady(row: Row) -> str | None:
    if not row.unsteady:
        return None
    return f"nondeterministic: its trials {answers_apart(row.unsteady)}"


def answers_apart(questions: Sequence[str]) -> str:
    """`answer 2 questions with different tokens (q1, q2)`; at most five are named."""
    some = ", ".join(questions[:5]) + (", …" if len(questions) > 5 else "")
    return f"answer {count(len(questions), 'question')} with different tokens ({some})"


def _disturbed(quiet: Quiet) -> Cell:
    left_out = f"{count(quiet.left_out, 'noisy attempt')} left out" if quiet.left_out else None
    return figure(f"{quiet.disturbed} of {quiet.trials}", tag=left_out)


def _beyond(quiet: Quiet) -> str:
    """What passed a limit; where nothing did, also whether that is known."""
    if quiet.too_short == quiet.trials:
        return "; ".join([*quiet.says, f"{'all else ' if quiet.says else ''}{quiet.unjudged}"])
    return "; ".join(filter(None, ["; ".join(quiet.says) or "nothing", quiet.unjudged]))


def _figure(quiet: Quiet, name: str) -> Cell:
    value = quiet.worst.get(name)
    text = None if value is None else DEFINITIONS[name].text(value)
    return figure(text, quiet.missing.get(name))


def _of_gpu(value: float | None) -> Cell:
    return figure(None if value is None else number(value), "NVML does not say for this card")


def _parent(found: Sequence[Quiet]) -> list[str]:
    shares = [one.parent_cpu_share for one in found if one.parent_cpu_share is not None]
    if not shares:
        return []
    most = f"{max(shares) * 100:.2f} % of one CPU"
    when = "while it waited for a worker, from its start to its end (a strategy's median trial)"
    return [f"The harness itself used at most {most} {when}."]
