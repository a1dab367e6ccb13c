"""`run`: measure a study, trial by trial, and report.

Reads like the flow: study -> plan -> trials -> records -> report.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import console
from harness.cli.converting import no_cache_option, opened_conversions
from harness.cli.exits import EXIT_CELL_FAILED, EXIT_INTERRUPTED, EXIT_NOTHING_MEASURED
from harness.cli.referring import opened_references
from harness.cli.setting import pull_command, set_option, set_words
from harness.invocation import as_typed, command_line

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.machine import Machine
    from harness.measure.bench import Lent
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
@click.option(
    "--only",
    type=click.Choice(["speed", "depth", "answers", "quality"]),
    help="Run one workload only.",
)
@click.option("--trials", type=click.IntRange(1, 10_000), help="Speed trials per cell.")
@click.option(
    "--machine",
    "label",
    callback=lambda _context, _option, label: _checked_label(label),
    help="Name of this machine's folder below --results.",
)
@click.option(
    "--allow-failures", is_flag=True, help="Exit with 0 also where a cell failed (code 3)."
)
@click.option("--pull", "pull_first", is_flag=True, help="First download what is missing.")
@no_cache_option
@set_option
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
    allow_failures: bool,
    pull_first: bool,
    no_cache: bool,
    settings: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure the cells of STUDY and write a report.

    STUDY is a YAML file, or builtin:quickstart. An unfinished run of the same study goes on where
    it stopped; with another --set it is another one. Each trial runs in a fresh process and is
    recorded as it ends; Ctrl-C keeps what was measured.

    Exit codes: 0 every trial was measured, or none was left to do; 2 bad input; 3 a cell failed (0
    with --allow-failures); 4 nothing could be measured, or no longer recorded; 130 interrupted.
    """
    from harness.config.load import load_study
    from harness.machine import probe_machine
    from harness.plan.look import look
    from harness.plan.plan import plan

    if fresh and resume:
        raise click.UsageError("--fresh and --resume exclude each other")
    out = console(stderr=as_json)
    if pull_first:
        _pull(study, settings, as_json=as_json)
    loaded = load_study(study, settings)
    machine = probe_machine()
    seen = look(loaded)
    planned = plan(loaded, machine, seen, only=only, trials=trials)
    if planned.missing:
        _say_missing(planned)
    if not planned.running:
        _say_nothing_runs(planned, study)
        return EXIT_NOTHING_MEASURED

    from harness.cli.pull import record_lock
    from harness.measure.bench import Lent, locked_sources, run_identity
    from harness.measure.schedule import n_left, stop_of
    from harness.records.runs import note_identity
    from harness.records.stop import read_stop, stop_sentence, write_stop
    from harness.records.store import RecordStore

    models = _identify(loaded)
    record_lock(loaded, locked_sources(loaded, models))
    identity = run_identity(loaded, models, machine.facts)
    folder = _choose_run(
        results / (label or machine.label), planned, identity, fresh=fresh, resume=resume
    )
    word = "Going on with" if folder.exists() else "Run"
    if not folder.exists():
        _create_folder(folder, loaded, machine, identity)
    store = RecordStore(folder)
    for note in store.notes:
        click.echo(f"Note: {note}; that trial is measured again.", err=True)
    left = n_left(planned, store)
    with (
        store.appending(),
        opened_conversions(no_cache=no_cache) as conversions,
        opened_references(results, no_cache=no_cache) as references,
    ):
        _say_without_locks(store)
        # The folder keeps the whole plan, also where one workload of it is run now.
        whole = plan(loaded, machine, seen, trials=trials)
        note_identity(folder, identity)
        lent = Lent(conversions=conversions, references=references)
        bench = _set_up_bench(folder, loaded, whole, machine, models, lent)
        out.print(f"{word} {folder}: {_to_do(planned, left)}", markup=False, soft_wrap=True)
        finished = _measure_all(planned, store, bench, left)
        stop = stop_of(planned, store)
        write_stop(folder, stop if only in (None, "speed") else read_stop(folder))
    if stop is not None:
        out.print(stop_sentence(stop), markup=False, soft_wrap=True)
    _report(folder, as_json=as_json, is_last=finished)
    if not finished:
        out.print(f"Interrupted. To go on: {_same_command()}", markup=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    code = 0 if left == 0 else _exit_code(store, planned)
    return 0 if allow_failures and code == EXIT_CELL_FAILED else code


def _say_without_locks(store: RecordStore) -> None:
    if not store.is_locked:
        text = "this file system has no locks: a second run into this folder would not be refused"
        click.echo(f"Note: {text}.", err=True)


def _to_do(planned: Plan, left: int) -> str:
    if planned.until is not None:
        return f"at most {left} {'trial' if left == 1 else 'trials'} to do"
    return f"{left} of {planned.n_trials} {'trial' if planned.n_trials == 1 else 'trials'} to do"


def _identify(loaded: LoadedStudy) -> dict[str, ModelIdentity]:
    from harness.cli.pull_display import PullDisplay
    from harness.measure.bench import identify_models

    display = PullDisplay(console(stderr=True))
    with display.shown():
        return identify_models(
            loaded, lambda model: display.begin("Reading", model, None), display.move
        )


def _pull(study: str, settings: tuple[str, ...], *, as_json: bool) -> None:
    """Download what a study lacks. Raises the error of what could not be had."""
    from harness.cli.pull import PullJob

    job = PullJob(stderr=as_json)
    job.study(study, settings)
    job.finish()


def _same_command() -> str:
    """The command that was given, to be pasted, without what would begin anew."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--fresh"]
    return command_line(*arguments)


def _checked_label(label: str | None) -> str | None:
    if label is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", label):
        raise click.BadParameter(
            f"'{label}' is no folder name; use letters, digits, '.', '_' and '-', at most 100."
        )
    return label


def _measure_all(planned: Plan, store: RecordStore, bench: Bench, n_trials: int) -> bool:
    """Run what is scheduled; False if the user stopped it."""
    from harness.cli.display import RunDisplay
    from harness.config.noise_settings import retries_of
    from harness.measure.cooldown import first_heat
    from harness.measure.schedule import schedule
    from harness.measure.trial import InterruptedTrial, measure

    display = RunDisplay(console(stderr=True), n_trials, at_most=planned.until is not None)
    bench.cooler.first = first_heat(store.records)
    with display.shown():
        try:
            study = bench.loaded.study
            for trial in schedule(
                planned, store, retries=retries_of(study.noise), gated=study.gate
            ):
                display.begin(trial)
                record = measure(
                    trial,
                    bench,
                    on_message=display.message,
                    on_wait=display.tick,
                    on_note=display.note,
                    on_cooling=display.cool,
                )
                store.append(record)
                display.end(trial, record)
            bench.machine_limits.at_end(on_note=display.aside, on_wait=display.tick)
        except InterruptedTrial as stop:
            store.append(stop.record)
            return False
        except KeyboardInterrupt:
            return False
    return True


def _choose_run(
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

    for folder in () if fresh else runs_of_study(machine_folder, identity):
        try:
            read_run(folder)
        except RecordsError as error:
            click.echo(f"Note: a run is left alone: {error}", err=True)
            continue
        if resume or n_left(planned, RecordStore(folder)):
            return folder
    for change in () if fresh else software_changes(machine_folder, identity):
        click.echo(f"Note: {change}, so its trials are others and a new run begins.", err=True)
    return new_run_path(machine_folder, planned.study)


def _set_up_bench(
    folder: Path,
    loaded: LoadedStudy,
    whole: Plan,
    machine: Machine,
    models: dict[str, ModelIdentity],
    lent: Lent,
) -> Bench:
    """Bring the folder up to date with what is known now, and make what all trials share."""
    from harness.measure.bench import prepare_bench
    from harness.plan.document import plan_document
    from harness.records.store import write_plan

    write_plan(folder, _without_folders(plan_document(whole)["cells"], loaded))
    return prepare_bench(loaded, whole, machine, models, folder, lent)


def _without_folders(cells: list[dict[str, Any]], loaded: LoadedStudy) -> list[dict[str, Any]]:
    """The planned cells, with no folder of this machine in why any is skipped."""
    from harness.measure.without_folders import folders_here, without_folders

    files = [path for one in loaded.files.values() for path in (one.weights, one.tokenizer)]
    here = folders_here(files)
    return [
        {**cell, "skip_reason": cell["skip_reason"] and without_folders(cell["skip_reason"], here)}
        for cell in cells
    ]


def _create_folder(
    folder: Path, loaded: LoadedStudy, machine: Machine, identity: dict[str, Any]
) -> None:
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


def _report(folder: Path, *, as_json: bool, is_last: bool) -> None:
    """Write the report; whatever stops that, the records are there and the way back is said."""
    from harness.cli.report import show_report

    click.echo("Writing the report …", err=True)
    try:
        show_report(folder, as_json=as_json, is_last=is_last)
    except KeyboardInterrupt:
        again = command_line("report", folder)
        click.echo(f"The records are kept. To report on them: {again}", err=True)
        raise


def _exit_code(store: RecordStore, planned: Plan) -> int:
    """0 if every trial was measured, 3 if one failed, 4 if all did."""
    from harness.measure.schedule import due

    kinds = [store.latest_outcome(cell.id, trial) for cell, trial in due(planned, store)]
    # A noisy trial has its figures; the report says by what they were disturbed.
    measured = [kind in ("ok", "noisy") for kind in kinds]
    if all(measured):
        return 0
    return EXIT_CELL_FAILED if any(measured) else EXIT_NOTHING_MEASURED


def _say_missing(planned: Plan) -> None:
    from harness.plan.missing import describe_missing

    click.echo(describe_missing(planned.missing), err=True)


def _say_nothing_runs(planned: Plan, study: str) -> None:
    if planned.missing:
        click.echo("Without them nothing can be measured here.", err=True)
    else:
        click.echo("Nothing can be measured here:", err=True)
        for reason in dict.fromkeys(one.skip_reason or "" for one in planned.cells):
            click.echo(f"  {as_typed(reason)}", err=True)
    pullable = any(file.command and file.command == file.pull for file in planned.missing)
    plan = command_line("plan", study, *set_words(planned.settings))
    click.echo(f"Next: {pull_command(study, planned.settings) if pullable else plan}", err=True)
