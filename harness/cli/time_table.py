"""The time of a plan as people read it. Words and layout only; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.table import Table
from rich.text import Text

from harness.cli.durations import about
from harness.plan.cell import Cell
from harness.plan.duration import CellTime, ReferenceSize, RunTime
from harness.sizes import size

_LATE_SHOWN = 3
_LEAST_S = 0.05  # of what is named as a part
Row = tuple[str, str, int, str]  # model, engine, threads, strategy


def time_table(found: RunTime) -> Table:
    """Seconds of each cell that will run, all its trials together; the last column is the row's."""
    rows: dict[Row, list[CellTime]] = {}
    for one in found.cells:
        rows.setdefault(_row(one.cell), []).append(one)
    workloads = list(dict.fromkeys(one.cell.workload for one in found.cells))
    several_engines = len({row[1] for row in rows}) > 1
    several_threads = len({row[2] for row in rows}) > 1
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("time of", overflow="fold")
    if several_engines:
        table.add_column("engine")
    if several_threads:
        table.add_column("threads", justify="right")
    table.add_column("strategy", overflow="fold")
    for workload in workloads:
        table.add_column(workload, justify="right")
    table.add_column("together", justify="right")
    previous = ""
    for (model, engine, threads, strategy), cells in rows.items():
        values = [
            model if model != previous else "",
            *([engine] if several_engines else []),
            *([str(threads)] if several_threads else []),
            strategy,
            *(_cell([one for one in cells if one.cell.workload == name]) for name in workloads),
            _cell(cells),
        ]
        table.add_row(*(Text(value) for value in values))
        previous = model
    return table


def time_lines(found: RunTime) -> Iterator[str]:
    """How long it will take, of what that is made up, and what that rests on."""
    parts = [f"{_trials(found)} {about(found.trials_s)}"]
    if found.cooling_s:
        parts.append(f"cooling down {about(found.cooling_s)}")
    once: dict[str, float] = {}
    for one in found.once:
        once[one.what] = once.get(one.what, 0.0) + one.s
    parts += [f"{what} {about(s)}" for what, s in once.items() if s >= _LEAST_S]
    yield f"{_total(found)}: {', '.join(parts)}."
    if found.n_idle:
        yield f"Not run, or measured under another name, and without time: {_cells(found.n_idle)}."
    if found.n_done:
        yield f"Done already, and without time: {_cells(found.n_done)}."
    if found.cells:
        yield _rests_on(found)
    if found.cooling is not None and found.cooling.each_s is None:
        yield (
            f"Each trial may wait {about(found.cooling.most_s)} to cool down; how long it will is "
            "not known before one did."
        )
    yield from _late(found)
    yield from _references(found)


def _row(cell: Cell) -> Row:
    return (cell.model, cell.engine, cell.threads, cell.strategy)


def _cell(cells: list[CellTime]) -> str:
    """All of these together; nothing where there are none."""
    if not cells:
        return ""
    known = [one.total_s for one in cells if one.total_s is not None]
    return about(sum(known)) if len(known) == len(cells) else "–"


def _trials(found: RunTime) -> str:
    n = sum(one.trials for one in found.cells)
    return "1 trial" if n == 1 else f"{n} trials"


def _total(found: RunTime) -> str:
    least, most = about(found.total_at_least_s), about(found.total_s)
    more = " and more" if found.n_unknown else ""
    return f"about {most}{more}" if least == most else f"about {least} to {most}{more}"


def _rests_on(found: RunTime) -> str:
    n_recorded, n_modelled = found.n_from("records"), found.n_from("model")
    rests = []
    if n_recorded:
        rests.append(f"earlier records of this machine ({_cells(n_recorded)})")
    if n_modelled:
        rests.append(f"a probe of this machine and a model ({_cells(n_modelled)})")
    known = f"This rests on {' and '.join(rests)}" if rests else "No cell's time is known"
    unknown = f"; – is not known ({_cells(found.n_unknown)})" if found.n_unknown and rests else ""
    return (
        f"{known}{unknown}. Other work on the machine, and trials that noise makes it measure "
        "again, are not foreseen."
    )


def _late(found: RunTime) -> Iterator[str]:
    """Cells whose trials will probably be ended by their deadline."""
    late = [one for one in found.cells if one.is_late]
    if late:
        names = ", ".join(one.cell.id for one in late[:_LATE_SHOWN])
        more = f" and {len(late) - _LATE_SHOWN} more" if len(late) > _LATE_SHOWN else ""
        yield (
            f"warning: trials of {_cells(len(late))} will probably not end within the deadline "
            f"(limits.trial_s, {about(late[0].trial_s or 0.0)}): {names}{more}"
        )


def _references(found: RunTime) -> Iterator[str]:
    """The exact references: what of each model is computed, for how long, and how large it is."""
    kept = [one for one in found.references if one.is_kept]
    made = [one for one in found.references if one.is_made and not one.is_kept]
    if kept:
        n_bytes = size(sum(one.nbytes for one in kept))
        yield f"Exact references that are in the cache: {_models(kept)} ({n_bytes} at most)."
    if made:
        yield "Exact references, computed layer by layer before the trial that first needs them:"
    for one in made:
        where = "in the cache" if one.will_stay else "beside the results, for one command"
        yield (
            f"  {one.model}{_for_gate(one)}: about {about(one.s)}, at most {size(one.nbytes)} "
            f"{where} ({one.rows:,} rows × {one.n_vocab:,} × 4 bytes)"
        )


def _models(references: Iterable[ReferenceSize]) -> str:
    """Their names, each with what its reference is for where that is the gate alone."""
    return ", ".join(f"{one.model}{_for_gate(one)}" for one in references)


def _for_gate(reference: ReferenceSize) -> str:
    return " for the gate" if reference.is_for_gate else ""


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n} cells"
