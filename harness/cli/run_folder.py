"""The folder of a run: the one to go on with, or a new one, and what it holds so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.cli.run_options import Selection
    from harness.config.load import LoadedStudy
    from harness.machine import Machine
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenRun:
    """The run to work in, and what is to be said of those that were not chosen."""

    folder: Path
    is_new: bool  # its folder is still to be made
    notes: tuple[str, ...] = ()


def choose_run(selected: Selection, identity: dict[str, Any]) -> ChosenRun:
    """An unfinished run of the same study, or a new one; nothing is written."""
    from harness.errors import RecordsError
    from harness.measure.schedule import n_left
    from harness.records.runs import new_run_path, runs_of_study, software_changes
    from harness.records.store import RecordStore, read_run

    planned, options = selected.planned, selected.options
    known = (selected.runs, identity, planned.settings)
    notes: list[str] = []
    for folder in () if options.fresh else runs_of_study(*known):
        try:
            read_run(folder)
        except RecordsError as error:
            notes.append(f"a run is left alone: {error}")
            continue
        if options.resume or n_left(_as_it_began(planned, folder), RecordStore(folder)):
            return ChosenRun(folder=folder, is_new=False, notes=tuple(notes))
    changes = () if options.fresh else software_changes(*known)
    why = (f"{change}, so its trials are others and a new run begins." for change in changes)
    folder = new_run_path(selected.runs, planned.study)
    return ChosenRun(folder=folder, is_new=True, notes=(*notes, *why))


def _as_it_began(planned: Plan, folder: Path) -> Plan:
    """The plan as the release had it that began the run: what it finished then stays finished.

    Answers had one trial. Where a study says how many there are, it asks for more.
    """
    from dataclasses import replace

    from harness.config.study import Answers
    from harness.records.runs import answered_once

    by_default = Answers(questions="…").trials
    if not answered_once(folder):
        return planned
    cells = (
        replace(one, trials=1)
        if one.cell.workload == "answers" and one.trials == by_default
        else one
        for one in planned.cells
    )
    return replace(planned, cells=tuple(cells))


def create_folder(
    folder: Path, loaded: LoadedStudy, machine: Machine, identity: dict[str, Any]
) -> None:
    """Make the folder of a new run, with all that is known before the first trial."""
    from harness.errors import BadInput, RecordsError
    from harness.records.store import create_run_folder

    try:
        create_run_folder(
            folder,
            study_text=loaded.text,
            study=loaded.study,
            facts={**machine.facts, "identity": identity},
            plan=[],
        )
    except RecordsError as error:
        raise BadInput(str(error)) from error  # the folder is what the user named


def note_in_folder(folder: Path, loaded: LoadedStudy, identity: dict[str, Any]) -> None:
    """Keep what was not known when the run began, and that it is one of this release from now on.

    To be called inside the store's `appending`.
    """
    from harness.records.runs import answered_once, note_answer_trials, note_identity

    note_identity(folder, identity)
    answers = loaded.study.workloads.answers
    if answers is not None and answered_once(folder):
        note_answer_trials(folder, answers.trials)


def notes_of(store: RecordStore) -> Iterator[str]:
    """What of a run was damaged, and what becomes of it."""
    for note in store.notes:
        yield f"{note}; that trial is measured again."


def say_notes(notes: Iterable[str]) -> None:
    """On stderr, beside whatever the command prints."""
    for note in notes:
        click.echo(f"Note: {note}", err=True)


def to_do(planned: Plan, n_left: int) -> str:
    """How many trials there are to do, of how many."""
    if planned.until is not None:
        return f"at most {n_left} {'trial' if n_left == 1 else 'trials'} to do"
    return f"{n_left} of {planned.n_trials} {'trial' if planned.n_trials == 1 else 'trials'} to do"
