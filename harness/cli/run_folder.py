"""The folder of a run: the one to go on with, or a new one, and what it holds so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.machine import Machine
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore


def choose_run(
    machine_folder: Path,
    planned: Plan,
    identity: dict[str, Any],
    *,
    fresh: bool,
    resume: bool,
) -> Path:
    """The folder to work in: of an unfinished run of the same study, or one still to be made."""
    from harness.errors import RecordsError
    from harness.measure.schedule import n_left
    from harness.records.runs import new_run_path, runs_of_study, software_changes
    from harness.records.store import RecordStore, read_run

    known = (machine_folder, identity, planned.settings)
    for folder in () if fresh else runs_of_study(*known):
        try:
            read_run(folder)
        except RecordsError as error:
            click.echo(f"Note: a run is left alone: {error}", err=True)
            continue
        if resume or n_left(_as_it_began(planned, folder), RecordStore(folder)):
            return folder
    for change in () if fresh else software_changes(*known):
        click.echo(f"Note: {change}, so its trials are others and a new run begins.", err=True)
    return new_run_path(machine_folder, planned.study)


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


def opened_store(folder: Path) -> RecordStore:
    """What the run has so far; what of it was damaged is said."""
    from harness.records.store import RecordStore

    store = RecordStore(folder)
    for note in store.notes:
        click.echo(f"Note: {note}; that trial is measured again.", err=True)
    return store
