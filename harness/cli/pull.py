"""`pull`: download the files that a study or model needs, check them, record what they are."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.console import console
from harness.cli.exits import EXIT_CELL_FAILED, EXIT_NOTHING_MEASURED
from harness.cli.models import ask_command
from harness.cli.setting import OPTION, set_option, set_words
from harness.errors import HarnessError
from harness.invocation import command_line
from harness.quickstart.files import BUILTIN

if TYPE_CHECKING:
    from harness.config.load import LoadedStudy
    from harness.plan.missing import MissingFile
    from harness.sources import Found, Locked
    from harness.sources.pull import Pulled


@click.command(short_help="Download the weights of a study or model, and check them.")
@click.argument("names", nargs=-1, required=True, metavar="STUDY|MODEL...")
@click.option(
    "--update", is_flag=True, help="Take what the source has now, whatever the lock says."
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files, instead of the hub's cache or the study's paths.",
)
@set_option
def command(
    names: tuple[str, ...], *, update: bool, folder: Path | None, settings: tuple[str, ...]
) -> int:
    """Download what STUDY or MODEL needs, and check size and hash.

    STUDY is a YAML file, changed by each --set; MODEL is hf://owner/repo/file[@revision], a link, a
    name that models.yaml has, or weights that are here and want their tokenizer. What is there
    already is checked and kept. An interrupted download goes on where it stopped. Gated
    repositories want a token in HF_TOKEN.
    """
    from harness.plan.missing import describe_missing, next_step

    studies = [name for name in names if is_study(name)]
    if settings and not studies:
        raise click.UsageError(f"{OPTION} changes a study, and none is named")
    job = PullJob(update=update, folder=folder)
    for name in names:
        if is_study(name):
            job.study(name, settings)
        else:
            job.model(name)
    code = job.finish()
    if folder is not None:
        click.echo(f"To have them found by name: export HARNESS_MODELS={shlex.quote(str(folder))}")
    lacking = {name: files for name in studies if (files := _lacking(name, settings))}
    for files in lacking.values():
        click.echo(describe_missing(files), err=True)
    if code == 0 and lacking:
        first, files = next(iter(lacking.items()))
        words = (first, *set_words(settings))
        again = next_step(files, command_line("pull", *words), command_line("run", *words))
        click.echo(again, err=True)
        return EXIT_NOTHING_MEASURED
    if code == 0:
        click.echo(f"Next: {_next(studies, settings, job.ask)}")
    return code


def is_study(name: str) -> bool:
    """Whether a name of the command line is a study, not a model."""
    return name == BUILTIN or name.endswith((".yaml", ".yml"))


class PullJob:
    """Pulls files, one after the other; one that fails does not stop the others."""

    def __init__(
        self, *, update: bool = False, folder: Path | None = None, stderr: bool = False
    ) -> None:
        self._update, self._folder = update, folder
        self._stderr = stderr  # where something else is printed on stdout
        self._failed: list[HarnessError] = []
        self._n_done = 0
        self.ask: list[str] = []  # commands for models that are there with their tokenizers

    def study(self, name: str, settings: Iterable[str] = ()) -> None:
        """Pull the files of a study; the weights first, since they decide on the tokenizer.

        `settings` change it, as `--set` does.
        """
        from harness.config.load import load_study

        for kind in ("weights", "tokenizer", "lambada"):
            loaded = load_study(name, settings, to_pull=True)
            for label, found in _wanted(loaded, kind):
                pulled = self._pull(label, found)
                if pulled is not None:
                    _record(loaded, found, pulled)
        if not self._n_done and not self._failed:
            lacking = _lacking(name, settings)
            why = "no source is given for what is missing" if lacking else "all is here, or is made"
            click.echo(f"{name}: nothing to download; {why}.", err=self._stderr)

    def model(self, name: str) -> None:
        """Pull one model and the tokenizer that goes with it."""
        from harness.config.model_files import tokenizer_of
        from harness.runtime.checkpoint import read_header
        from harness.sources import find
        from harness.sources.places import SUFFIXES

        try:
            found = find(name)
        except HarnessError as error:
            self._failed.append(error)
            return
        try:
            if found.path is not None and found.remote is None:
                read_header(found.path)
        except HarnessError as error:
            self._failed.append(error)
            return
        pulled = self._pull(found.text, found)
        if pulled is None or pulled.path.suffix in SUFFIXES["tokenizer"]:
            return
        tokenizer, why = tokenizer_of(replace(found, path=pulled.path))
        if tokenizer is not None and (tokenizer.remote is not None or tokenizer.path is not None):
            if self._pull("its tokenizer", tokenizer) is not None:
                shown = name if self._folder is None else str(pulled.path)
                self.ask.append(ask_command(shown, read_header(pulled.path)))
        elif why:
            click.echo(f"Note: {why}", err=True)

    def finish(self) -> int:
        """The exit code, after all that failed is said; raises it where nothing else was done."""
        if self._failed and not self._n_done:
            for error in self._failed[:-1]:
                click.echo(f"error: {error}", err=True)
            raise self._failed[-1]
        for error in self._failed:
            click.echo(f"error: {error}", err=True)
        return EXIT_CELL_FAILED if self._failed else 0

    def _pull(self, label: str, found: Found) -> Pulled | None:
        from harness.cli.pull_display import PullDisplay
        from harness.sources.pull import pull

        try:
            display = PullDisplay(console(stderr=True))
            with display.shown():
                pulled = pull(found, display, folder=self._folder, update=self._update)
        except HarnessError as error:
            self._failed.append(error)
            return None
        except KeyboardInterrupt:
            click.echo("What came is kept; the same command goes on with it.", err=True)
            raise
        self._n_done += 1
        for line in _lines(label, found, pulled):
            click.echo(line, err=self._stderr)
        return pulled


def _wanted(loaded: LoadedStudy, kind: str) -> Iterator[tuple[str, Found]]:
    """The files of a kind that have a source or a hash, each once, with its models."""
    if kind == "lambada":
        if loaded.lambada is not None and loaded.lambada.remote is not None:
            yield "LAMBADA", loaded.lambada
        return
    models: dict[Path, list[str]] = {}
    founds: dict[Path, Found] = {}
    for name, files in loaded.files.items():
        found = files.found if kind == "weights" else files.found_tokenizer
        if found is None or found.random is not None:
            continue
        if found.remote is not None or found.sha256 is not None:
            founds.setdefault(found.where, found)
            models.setdefault(found.where, []).append(name)
    for where, found in founds.items():
        label = ", ".join(models[where])
        yield (label if kind == "weights" else f"tokenizer of {label}"), found


def _record(loaded: LoadedStudy, found: Found, pulled: Pulled) -> None:
    """Write the lock; where that cannot be, say so and go on."""
    if found.remote is None or pulled.locked is None:
        return
    record_lock(loaded, {found.remote.shown: pulled.locked})


def record_lock(loaded: LoadedStudy, files: Mapping[str, Locked]) -> None:
    """Add to the lock beside a study, and say so; a lock that cannot be written is no error."""
    from harness.sources.lock import lock_path, write_lock

    path = lock_path(loaded.path)
    try:
        if write_lock(loaded.path, files):
            click.echo(f"Recorded in {path}; keep it with the study.", err=True)
    except OSError as error:
        why = error.strerror or error
        click.echo(f"Note: {path} cannot be written ({why}): hashes are not recorded.", err=True)


def _lines(label: str, found: Found, pulled: Pulled) -> Iterator[str]:
    from harness.report.format import size

    came = "downloaded" if pulled.fresh else "already there"
    yield f"{label}: {pulled.path.name if found.remote is None else found.remote.name}"
    yield f"  {size(pulled.size)}, {came}, sha256 {pulled.sha256[:16]}…"
    if found.remote is not None and pulled.fresh:
        yield f"  from {found.remote.shown}"
    yield f"  {_short(pulled.path)}"


def _short(path: Path) -> str:
    """The path with `~` for the home folder."""
    home = os.path.expanduser("~")  # noqa: PTH111 - a text for a text
    text = str(path)
    return f"~{text[len(home) :]}" if text.startswith(f"{home}{os.sep}") else text


def _lacking(study: str, settings: Iterable[str]) -> list[MissingFile]:
    """What a study still lacks and cannot download."""
    from harness.config.load import load_study
    from harness.plan.missing import missing_files

    missing = missing_files(load_study(study, settings))
    return [one for one in missing if one.command is None or one.command != one.pull]


def _next(studies: list[str], settings: Iterable[str], ask: list[str]) -> str:
    if studies:
        return command_line("run", studies[0], *set_words(settings))
    # none: weights that no tokenizer is known for, or a tokenizer by itself
    return ask[0] if ask else command_line("models")
