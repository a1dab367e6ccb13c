"""`run`: measure a study, trial by trial, and report.

Reads like the flow: study -> plan -> trials -> records -> report.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.cli.exits import EXIT_CELL_FAILED, EXIT_INTERRUPTED, EXIT_NOTHING_MEASURED

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.machine import Machine
    from harness.measure.identity import ModelIdentity
    from harness.measure.trial import Bench
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore


@click.command(short_help="Measure a study and write its report.")
@click.argument("study")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder that runs are kept in.",
)
@click.option("--fresh", is_flag=True, help="Start a new run, also if one is unfinished.")
@click.option("--resume", is_flag=True, help="Go on with the newest run, even a finished one.")
@click.option("--only", type=click.Choice(["speed", "answers"]), help="Run one workload only.")
@click.option("--trials", type=click.IntRange(min=1), help="Speed trials per cell.")
@click.option("--machine", "label", help="Name of this machine's folder below --results.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON at the end.")
def command(
    study: str,
    *,
    results: Path,
    fresh: bool,
    resume: bool,
    only: str | None,
    trials: int | None,
    label: str | None,
    as_json: bool,
) -> int:
    """Measure the cells of STUDY and write a report.

    STUDY is a YAML file, or builtin:quickstart. An unfinished run of the same study goes on where
    it stopped. Each trial runs in a fresh process and is recorded as it ends; Ctrl-C keeps what was
    measured.
    """
    from harness.config.load import load_study
    from harness.machine import probe_machine
    from harness.plan.plan import plan

    if fresh and resume:
        raise click.UsageError("--fresh and --resume exclude each other")
    out = console(stderr=as_json)
    loaded = load_study(study)
    machine = probe_machine()
    planned = plan(loaded, machine, only=only, trials=trials)
    if planned.missing:
        _say_missing(planned)
    if not planned.running:
        _say_nothing_runs(planned, study)
        return EXIT_NOTHING_MEASURED

    from harness.measure.bench import identify_models, prepare_bench, run_identity
    from harness.measure.schedule import n_left
    from harness.records.store import RecordStore

    models = identify_models(
        loaded, planned, lambda model: out.print(f"Reading {model} …", markup=False)
    )
    folder, is_new = _choose_run(
        results / (label or machine.label),
        loaded,
        planned,
        run_identity(loaded, models),
        fresh,
        resume,
    )
    _open_folder(folder, is_new, loaded, planned, machine, models)
    store = RecordStore(folder)
    left = n_left(planned, store)
    out.print(
        f"{'Run' if is_new else 'Going on with'} {folder}: {left} of {planned.n_trials} trials "
        f"to do",
        markup=False,
        soft_wrap=True,
    )
    bench = prepare_bench(loaded, planned, machine, models, folder)
    finished = _measure_all(planned, store, bench, left)
    code = _exit_code(store, planned, finished)
    _report(folder, as_json)
    if not finished:
        out.print(f"Interrupted. To go on: python -m harness run {study}", markup=False)
    return code


def _measure_all(planned: Plan, store: RecordStore, bench: Bench, n_trials: int) -> bool:
    """Run what is scheduled; False if the user stopped it."""
    from harness.cli.display import RunDisplay
    from harness.measure.schedule import schedule
    from harness.measure.trial import InterruptedTrial, measure

    display = RunDisplay(console(stderr=True), n_trials)
    with store.appending(), display.shown():
        try:
            for trial in schedule(planned, store):
                display.begin(trial)
                record = measure(trial, bench, on_message=display.message, on_wait=display.tick)
                store.append(record)
                display.end(trial, record)
        except InterruptedTrial as stop:
            store.append(stop.record)
            return False
        except KeyboardInterrupt:
            return False
    return True


def _choose_run(
    machine_folder: Path,
    loaded: LoadedStudy,
    planned: Plan,
    identity: dict[str, Any],
    fresh: bool,
    resume: bool,
) -> tuple[Path, bool]:
    """The folder to work in, and whether it is new."""
    from harness.measure.schedule import n_left
    from harness.records.runs import new_run_path, runs_of_study
    from harness.records.store import RecordStore

    if not fresh:
        for folder in runs_of_study(machine_folder, identity):
            if resume or n_left(planned, RecordStore(folder)):
                return folder, False
    return new_run_path(machine_folder, loaded.study.name), True


def _open_folder(
    folder: Path,
    is_new: bool,
    loaded: LoadedStudy,
    planned: Plan,
    machine: Machine,
    models: dict[str, ModelIdentity],
) -> None:
    from harness.measure.bench import run_identity
    from harness.plan.document import plan_document
    from harness.records.store import create_run_folder, write_plan

    cells = plan_document(planned)["cells"]
    if not is_new:
        write_plan(folder, cells)
        return
    create_run_folder(
        folder,
        study_text=loaded.text,
        study=loaded.study,
        facts={**machine.facts, "identity": run_identity(loaded, models)},
        plan=cells,
    )


def _report(folder: Path, as_json: bool) -> None:
    from harness.cli.report import show_report

    show_report(folder, as_json=as_json)


def _exit_code(store: RecordStore, planned: Plan, finished: bool) -> int:
    """0 if every trial that ran is ok, 3 if one failed, 4 if all did, 130 if stopped."""
    if not finished:
        return EXIT_INTERRUPTED
    kinds = [
        store.latest_outcome(one.cell.id, trial)
        for one in planned.running
        for trial in range(one.trials)
    ]
    if all(kind == "ok" for kind in kinds):
        return 0
    return EXIT_CELL_FAILED if "ok" in kinds else EXIT_NOTHING_MEASURED


def _say_missing(planned: Plan) -> None:
    from harness.plan.missing import describe_missing

    click.echo(describe_missing(planned.missing), err=True)


def _say_nothing_runs(planned: Plan, study: str) -> None:
    if planned.missing:
        click.echo("Without them nothing can be measured here.", err=True)
    else:
        click.echo("Nothing can be measured here:", err=True)
        for reason in dict.fromkeys(one.skip_reason for one in planned.cells):
            click.echo(f"  {reason}", err=True)
    click.echo(f"Next: python -m harness plan {study}", err=True)
