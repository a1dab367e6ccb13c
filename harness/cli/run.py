"""`run`: measure a study, trial by trial, and report.

Reads like the flow: study -> plan -> trials -> records -> report.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.budget import TimeGiven, given, noisy_sentence, rest_sentence, same_command
from harness.cli.console import console, say
from harness.cli.converting import opened_conversions
from harness.cli.exits import (
    EXIT_CELL_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_MEASURED,
    code_of_run,
)
from harness.cli.referring import opened_references
from harness.cli.run_folder import (
    choose_run,
    create_folder,
    note_in_folder,
    notes_of,
    say_notes,
    to_do,
)
from harness.cli.run_options import RunOptions, Selection, run_options, select
from harness.cli.setting import pull_command, set_words
from harness.invocation import as_typed, command_line

if TYPE_CHECKING:
    from rich.console import Console

    from harness.config.load import LoadedStudy
    from harness.measure.bench import Lent
    from harness.measure.budget import Budget
    from harness.measure.identity import ModelIdentity
    from harness.measure.trial import Bench
    from harness.plan.plan import Plan
    from harness.records.store import RecordStore


@click.command(short_help="Measure a study and write its report.")
@run_options
@click.option(
    "--allow-failures", is_flag=True, help="Exit with 0 also where a cell failed (code 3)."
)
@click.option("--pull", "pull_first", is_flag=True, help="First download what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON at the end.")
def command(options: RunOptions, *, allow_failures: bool, pull_first: bool, as_json: bool) -> int:
    """Measure the cells of STUDY and write a report.

    STUDY is a YAML file, or builtin:quickstart. An unfinished run of the same study goes on where
    it stopped; with another --set it is another one. Each trial runs in a fresh process and is
    recorded as it ends; Ctrl-C keeps what was measured.

    Exit codes speak of the run so far, whichever command measured what: 0 no trial failed, or none
    was left to do; 2 bad input; 3 a cell failed (0 with --allow-failures); 4 nothing
    could be measured, or no longer recorded, or --budget left this command no time for any trial;
    130 interrupted.
    """
    from harness.plan.missing import describe_missing

    time = given(options.budget_s)
    if pull_first:
        _pull(options, as_json=as_json)
    selected = select(options)
    planned = selected.planned
    if planned.missing:
        click.echo(describe_missing(planned.missing), err=True)
    if not planned.running:
        _say_nothing_runs(planned, options.study)
        return EXIT_NOTHING_MEASURED
    code = _carry_out(selected, time, as_json=as_json)
    return 0 if allow_failures and code == EXIT_CELL_FAILED else code


def _carry_out(selected: Selection, time: TimeGiven, *, as_json: bool) -> int:
    """Measure what is selected into one of the runs, and report; the exit code."""
    from harness.measure.bench import Lent, run_identity
    from harness.measure.schedule import n_left, stop_of
    from harness.records.stop import read_stop, stop_sentence, write_stop
    from harness.records.store import RecordStore

    loaded, machine, planned = selected.loaded, selected.machine, selected.planned
    no_cache = selected.options.no_cache
    out = console(stderr=as_json)
    models = _identify(loaded)
    identity = run_identity(loaded, models, machine.facts)
    chosen = choose_run(selected, identity)
    folder, word = chosen.folder, "Run" if chosen.is_new else "Going on with"
    say_notes(chosen.notes)
    if chosen.is_new:
        create_folder(folder, loaded, machine, identity)
    store = RecordStore(folder)
    say_notes(notes_of(store))
    left = n_left(planned, store)
    budget = time.budget(selected, n_before=len(store.records))
    with (
        store.appending(),
        opened_conversions(no_cache=no_cache) as conversions,
        opened_references(selected.runs.parent, no_cache=no_cache) as references,
    ):
        _say_without_locks(store)
        note_in_folder(folder, loaded, identity)
        lent = Lent(conversions=conversions, references=references)
        bench = _set_up_bench(folder, selected, models, lent)
        words = f"{word} {folder}: {to_do(planned, left)}{time.words}"
        say(out, words)
        went = finished, _ = _measure_all(planned, store, bench, left, budget)
        stop = stop_of(planned, store)
        is_of_speed = selected.options.only in (None, "speed")
        write_stop(folder, stop if is_of_speed else read_stop(folder))
    noisy = noisy_sentence(planned, store) if finished and budget.refused is None else None
    if stop is not None:
        say(out, stop_sentence(stop))
    if noisy is not None:
        out.print(noisy, markup=False, soft_wrap=True)  # ends in a command, to be pasted
    _report(folder, as_json=as_json, is_last=finished and budget.refused is None)
    code = _say_rest(planned, store, budget, went, out)
    if code or left == 0:
        return code
    return code_of_run(store, planned)


def _say_rest(
    planned: Plan, store: RecordStore, budget: Budget, went: tuple[bool, int], out: Console
) -> int:
    """Say how to go on with what was not done; the exit code where that decides it, else 0."""
    finished, n_begun = went
    ran_out = budget.refused is not None
    if ran_out:
        words = rest_sentence(planned, store, budget, n_begun=n_begun)
        say(out, words)
    if ran_out or not finished:
        why = "" if finished else "Interrupted. "
        enough_s = budget.enough_s(store) if ran_out and not n_begun else None
        out.print(f"{why}To go on: {same_command(enough_s)}", markup=False, soft_wrap=True)
    if not finished:
        return EXIT_INTERRUPTED
    return EXIT_NOTHING_MEASURED if ran_out and not n_begun else 0


def _say_without_locks(store: RecordStore) -> None:
    if not store.is_locked:
        text = "this file system has no locks: a second run into this folder would not be refused"
        click.echo(f"Note: {text}.", err=True)


def _identify(loaded: LoadedStudy) -> dict[str, ModelIdentity]:
    """Hash the models' files, and keep in the study's lock what came from elsewhere."""
    from harness.cli.pull import record_lock
    from harness.cli.pull_display import PullDisplay
    from harness.measure.bench import identify_models, locked_sources

    display = PullDisplay(console(stderr=True))
    with display.shown():
        models = identify_models(
            loaded, lambda model: display.begin("Reading", model, None), display.move
        )
    record_lock(loaded, locked_sources(loaded, models))
    return models


def _pull(options: RunOptions, *, as_json: bool) -> None:
    """Download what a study lacks. Raises the error of what could not be had."""
    from harness.cli.pull import PullJob

    job = PullJob(stderr=as_json)
    job.study(options.study, options.settings)
    job.finish()


def _measure_all(
    planned: Plan, store: RecordStore, bench: Bench, n_trials: int, budget: Budget
) -> tuple[bool, int]:
    """Run what is scheduled; False if the user stopped it, and how many trials were begun."""
    from harness.cli.display import RunDisplay
    from harness.config.noise_settings import retries_of
    from harness.measure.cooldown import first_heat
    from harness.measure.schedule import schedule
    from harness.measure.trial import InterruptedTrial, measure

    at_most = planned.until is not None or budget.is_set
    display = RunDisplay(
        console(stderr=True),
        n_trials,
        at_most=at_most,
        clock=budget.clock,
        ends_at=budget.ends_at,
    )
    n_begun = 0
    bench.cooler.first = first_heat(store.records)
    with display.shown():
        try:
            study = bench.loaded.study
            retries = retries_of(study.noise)
            for trial in schedule(planned, store, retries=retries, gated=study.gate, budget=budget):
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
                n_begun += trial.wrong_reason is None and record.outcome.kind != "skipped"
                display.end(trial, record)
            if budget.is_late(store):
                display.aside("Left out, for want of time: how much the machine drifted.")
            else:
                bench.machine_limits.at_end(on_note=display.aside, on_wait=display.tick)
        except InterruptedTrial as stop:
            store.append(stop.record)
            return False, n_begun
        except KeyboardInterrupt:
            return False, n_begun
    return True, n_begun


def _set_up_bench(
    folder: Path, selected: Selection, models: dict[str, ModelIdentity], lent: Lent
) -> Bench:
    """Bring the folder up to date with what is known now, and make what all trials share.

    The folder keeps the whole plan, also where one workload of it is run now.
    """
    from harness.measure.bench import prepare_bench
    from harness.plan.document import plan_document
    from harness.records.store import write_plan

    loaded, whole = selected.loaded, selected.whole
    write_plan(folder, _without_folders(plan_document(whole)["cells"], loaded))
    return prepare_bench(loaded, whole, selected.machine, models, folder, lent)


def _without_folders(cells: list[dict[str, Any]], loaded: LoadedStudy) -> list[dict[str, Any]]:
    """The planned cells, with no folder of this machine in why any is skipped."""
    from harness.measure.without_folders import folders_here, without_folders

    files = [path for one in loaded.files.values() for path in (one.weights, one.tokenizer)]
    here = folders_here(files)
    return [
        {**cell, "skip_reason": cell["skip_reason"] and without_folders(cell["skip_reason"], here)}
        for cell in cells
    ]


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


def _say_nothing_runs(planned: Plan, study: str) -> None:
    from harness.plan.missing import next_step

    if planned.missing:
        click.echo("Without them nothing can be measured here.", err=True)
        pull = pull_command(study, planned.settings)
        click.echo(next_step(planned.missing, pull, same_command()), err=True)
        return
    click.echo("Nothing can be measured here:", err=True)
    for reason in dict.fromkeys(one.skip_reason or "" for one in planned.cells):
        click.echo(f"  {as_typed(reason)}", err=True)
    plan = command_line("plan", study, *set_words(planned.settings))
    click.echo(f"Next: {plan}", err=True)
