"""A plan as people read it: one row per model and strategy, skip reasons as footnotes.

Eighty columns suffice. Words and layout only; nothing is decided here.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.cli.console import console
from harness.cli.durations import about
from harness.cli.foreseeing import Foreseen
from harness.cli.reach_lines import reach_lines, run_line
from harness.cli.setting import pull_command
from harness.cli.time_table import time_lines, time_table
from harness.invocation import as_typed, command_line
from harness.plan.cell import Cell, PlannedCell
from harness.plan.left import Left
from harness.plan.missing import describe_missing, next_step
from harness.plan.plan import Plan
from harness.quickstart.files import BUILTIN
from harness.report.at_least import LEAST_WIDTH, AtLeast
from harness.sizes import size

_TURNS_SHOWN = 4
_ANY_WIDTH = 1000
Place = tuple[str, str, int, str]  # model, engine, threads, strategy
Row = tuple[str, str, int, str, int]  # the same, sampling and prompt behind the strategy; batch


def show_plan(planned: Plan, foreseen: Foreseen, words: Sequence[str | Path]) -> None:
    """Print `planned`, and what of it would be done now.

    `words` are those of `run` that do it; the first is how the user named the study.
    """
    out = console()
    rows = _rows(planned)
    notes = _letters(why for one in planned.cells for why in _why_not(planned, one))
    _print(out, _headline(planned, foreseen.left))
    if planned.settings:
        _print(out, f"Set here: {'; '.join(planned.settings)}.")
    if foreseen.chosen is not None:
        # Wrapped between words alone: the folder is to be copied.
        out.print(Text(run_line(planned, foreseen)), overflow="ignore", crop=False)
    out.print(AtLeast(_narrowed(_table(planned, foreseen, rows, notes), out)), crop=False)
    _print_notes(out, planned, foreseen, notes)
    if planned.running:
        out.print()
        if foreseen.time.cells:
            out.print(AtLeast(_narrowed(time_table(foreseen.time), out)), crop=False)
        total, *rest = time_lines(foreseen.time)
        _print(out, total)
        _print_worst(out, planned, foreseen.left)
        for line in (*rest, *reach_lines(planned, foreseen)):
            _print(out, line)
    if planned.missing:
        # Not wrapped: the commands are to be copied.
        click.echo(f"\n{describe_missing(planned.missing)}")
    click.echo(f"\n{_next(planned, foreseen, words)}")


def _rows(planned: Plan) -> dict[Row, dict[str, PlannedCell]]:
    """The workloads of each row.

    Those that have no batch stand with the least one, and there what asks no question with the
    first sampling and prompt.
    """
    least: dict[Place, int] = {}
    first: dict[Place, str] = {}
    for cell in (one.cell for one in planned.cells):
        if cell.workload == "speed":
            least[_place(cell)] = min(cell.batch, least.get(_place(cell), cell.batch))
        elif cell.variant:
            first.setdefault(_place(cell), cell.variant)
    rows: dict[Row, dict[str, PlannedCell]] = {}
    for one in planned.cells:
        cell, place = one.cell, _place(one.cell)
        batch = cell.batch if cell.workload == "speed" else least.get(place, 1)
        home = first.get(place, "") if batch == least.get(place, 1) else ""
        variant = cell.variant or home
        strategy = f"{cell.strategy}, {variant}" if variant else cell.strategy
        rows.setdefault((*place[:3], strategy, batch), {})[cell.workload] = one
    return rows


def _place(cell: Cell) -> Place:
    return (cell.model, cell.engine, cell.threads, cell.strategy)


def _headline(planned: Plan, left: Left) -> str:
    n_cells, n_running = len(planned.cells), len(left.by_cell)
    engines = dict.fromkeys(one.cell.engine for one in planned.cells)
    threads = dict.fromkeys(str(one.cell.threads) for one in planned.cells)
    return (
        f"{planned.study}: {n_running} of {n_cells} cells will run here, in "
        f"{_how_many(planned, left)} (engine {', '.join(engines)}; threads {', '.join(threads)})."
    )


def _table(
    planned: Plan,
    foreseen: Foreseen,
    rows: dict[Row, dict[str, PlannedCell]],
    notes: dict[str, str],
) -> Table:
    turns = _turns(foreseen)
    workloads = list(dict.fromkeys(one.cell.workload for one in planned.cells))
    several_engines = len({row[1] for row in rows}) > 1
    several_threads = len({row[2] for row in rows}) > 1
    several_batches = len({row[4] for row in rows}) > 1
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold")
    if several_engines:
        table.add_column("engine")
    if several_threads:
        table.add_column("threads", justify="right")
    if several_batches:
        table.add_column("batch", justify="right")
    table.add_column("strategy", overflow="fold")
    for workload in workloads:
        table.add_column(workload)
    table.add_column("peak memory", no_wrap=True)
    previous = ""
    for (model, engine, threads, strategy, batch), cells in rows.items():
        values = [
            model if model != previous else "",
            *([engine] if several_engines else []),
            *([str(threads)] if several_threads else []),
            *([str(batch)] if several_batches else []),
            strategy,
            *(_when(planned, cells.get(workload), turns, notes) for workload in workloads),
            _memory(cells.values()),
        ]
        table.add_row(*(Text(value) for value in values))
        previous = model
    return table


def _narrowed(table: Table, out: Console) -> Table:
    """The table with less between its columns where a strategy would be broken otherwise."""
    unbound = out.options.update(max_width=_ANY_WIDTH)
    if Measurement.get(out, unbound, table).maximum > max(out.width, LEAST_WIDTH):
        table.padding = (0, 1, 0, 0)
    return table


def _turns(foreseen: Foreseen) -> dict[Cell, list[int]]:
    """Of each cell with any left: which of all turns of the plan they are."""
    turns: dict[Cell, list[int]] = {}
    still = set(foreseen.left.turns)
    for number, turn in enumerate(foreseen.turns, start=1):
        if turn in still:
            turns.setdefault(turn[0], []).append(number)
    return turns


def _why_not(planned: Plan, one: PlannedCell) -> list[str]:
    """Why a cell is not measured, each reason as its footnote says it."""
    if one.same_as is None:
        return [f"skipped: {as_typed(reason)}" for reason in one.skip_reasons]
    strategy = next(each.cell.strategy for each in planned.cells if each.cell.id == one.same_as)
    return [f"= the same computation as '{strategy}', measured there"]


def _when(
    planned: Plan,
    one: PlannedCell | None,
    turns: dict[Cell, list[int]],
    notes: dict[str, str],
) -> str:
    """The turns of a cell, or the letters of why it has none."""
    if one is None:
        return ""
    letters = " ".join(sorted(notes[why] for why in _why_not(planned, one)))
    if letters:
        return f"{'–' if one.same_as is None else '='} [{letters}]"
    own = turns.get(one.cell)
    if own is None:
        return "done"
    shown = " ".join(str(turn) for turn in own[:_TURNS_SHOWN])
    return shown if len(own) <= _TURNS_SHOWN else f"{shown} … ({len(own)})"


def _memory(row: Iterable[PlannedCell]) -> str:
    """The predicted peak per device, of the workload that takes most; else the weights alone."""
    most: dict[str, int] = {}
    weights: dict[str, int] = {}
    for one in row:
        weights |= one.weight_bytes
        if one.forecasts is not None:
            for device, n in one.forecasts.as_given.peak_bytes().items():
                most[device] = max(n, most.get(device, 0))
    shown = [f"{device} {size(n)}" for device, n in most.items()]
    shown = shown or [f"{device} ≥ {size(n)}" for device, n in weights.items() if n]
    return "\n".join(shown) or "–"


def _print_notes(out: Console, planned: Plan, foreseen: Foreseen, notes: dict[str, str]) -> None:
    if foreseen.left.turns:
        are = "are left of the cell" if foreseen.goes_on else "are the cell's"
        _print(
            out,
            f"Numbers under a workload are turns: which of the {_trials(planned.n_trials)}, "
            f"{_order(planned, foreseen)}, {are}.",
        )
        _print_until(out, planned, foreseen.left)
        _print_converted(out, planned, foreseen.left)
    for why, letter in notes.items():
        _print(out, f"[{letter}] {why}")
    if any(one.forecasts is not None for one in planned.cells):
        _print(out, "Peak memory is predicted, without Python and its libraries.")
    if any(one.forecasts is None and one.weight_bytes for one in planned.cells):
        _print(out, "≥ the weights alone: what this engine needs beside them is not known")
    if any(not one.weight_bytes for one in planned.cells):
        _print(out, "– peak memory: not known without the file")
    warned: dict[str, list[str]] = {}
    for one in planned.cells:
        for warning in one.warnings:
            names = warned.setdefault(warning, [])
            name = f"{one.cell.model} {one.cell.strategy}"
            names.extend([name] if name not in names else [])
    for warning, names in warned.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        _print(out, f"warning: {names[0]}{more}: {warning}")


def _order(planned: Plan, foreseen: Foreseen) -> str:
    if planned.order == "sequential":
        each = "" if foreseen.reach is None else ", each once before any is twice"
        return f"one cell after the other{each}"
    return f"in blocks shuffled by seed {planned.seed}"


def _print_until(out: Console, planned: Plan, left: Left) -> None:
    """The rule that stops, where there is one; a warning where the order lets drift mislead."""
    until = planned.until
    if until is not None:
        _print(
            out,
            f"It stops after a block, from block {until.min_trials} on, once decode and prefill "
            f"speed of every cell are known within ± {until.relative_ci * 100:.3g} %: "
            f"{_how_many(planned, left)}.",
        )
    if planned.order == "sequential":
        _print(
            out,
            "warning: in the sequential order a machine that slows down favours the first cells",
        )


def _print_worst(out: Console, planned: Plan, left: Left) -> None:
    """What the run cannot exceed, whatever was foreseen."""
    if planned.longest_trial_s is not None and left.turns:
        ends = "deadline and cool-down" if planned.cools_down else "its deadline"
        _print(
            out,
            f"With {ends} a trial takes {about(planned.longest_trial_s)} at "
            f"worst, all of them about {about(planned.longest_trial_s * len(left.turns))}, "
            "apart from converting weights and from what noise makes it measure again.",
        )


def _print_converted(out: Console, planned: Plan, left: Left) -> None:
    """Which weights are converted before the first trial that reads them, and to how much."""
    files: dict[tuple[str, str], tuple[str, int]] = {}
    for one in planned.running:
        if one.converted is not None and left.by_cell[one.cell]:
            made = (one.cell.strategy, one.converted.nbytes)
            files.setdefault((one.cell.model, one.converted.plan), made)
    if not files:
        return
    total = sum(nbytes for _, nbytes in files.values())
    _print(
        out,
        "Weights are converted once, before the first trial that reads them, within the deadline "
        f"and the memory of a trial: {size(total)}, less what is kept from before.",
    )
    for model in dict.fromkeys(model for model, _ in files):
        own = [file for (of, _), file in files.items() if of == model]
        said = ", ".join(f"{strategy} ({size(nbytes)})" for strategy, nbytes in own)
        _print(out, f"  {model}: {said}")


def _letters(reasons: Iterable[str]) -> dict[str, str]:
    """A letter for each different reason."""
    different = list(dict.fromkeys(reasons))
    names = [*string.ascii_lowercase, *(f"a{n}" for n in range(1, len(different)))]
    return dict(zip(different, names, strict=False))


def _next(planned: Plan, foreseen: Foreseen, words: Sequence[str | Path]) -> str:
    run = command_line("run", *words)
    if foreseen.goes_on and foreseen.chosen is not None and not foreseen.left.turns:
        return f"Next: {command_line('report', foreseen.chosen.folder)}"
    if planned.running:
        return f"Next: {run}"
    if planned.missing:
        pull = pull_command(str(words[0]), planned.settings)
        return next_step(planned.missing, pull, run)
    return f"Next: {command_line('plan', BUILTIN)}"


def _how_many(planned: Plan, left: Left) -> str:
    least, most = sum(left.at_least(planned).values()), len(left.turns)
    return _trials(most) if least == most else f"{least} to {_trials(most)}"


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"


def _print(out: Console, text: str) -> None:
    out.print(Text(text))
