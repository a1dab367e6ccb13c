"""The files a study needs that are not there, and how to get them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.config.load import LoadedStudy
from harness.config.matrix import WITH_TOKENIZER
from harness.invocation import command_line
from harness.plan.matrix import cells
from harness.quickstart import files
from harness.sizes import size as written
from harness.sources import Found

ABSENT = "missing"
LAMBADA = "lambada"


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingFile:
    """One file that is not there."""

    kind: str  # weights, tokenizer or lambada
    models: tuple[str, ...]  # the models of the study that need it
    path: Path  # where it is to lie, as far as that can be told
    source: str | None  # its URL, where the study gives one
    twin: Path | None = None  # the same file under the name its URL has
    state: str = ABSENT  # or why it cannot be seen, though it may be there
    named: str | None = None  # as the study names it, where that is no path
    why: str = ""  # of a name: where it was looked for
    size: int | None = None  # bytes, where the study's lock knows them
    pull: str | None = None  # the command that downloads it

    @property
    def shown(self) -> str:
        """The file as the user knows it."""
        if self.path in (files.WEIGHTS, files.TOKENIZER):
            return f"{files.BUILTIN} ({self.path.name})"
        return self.named or str(self.path)

    @property
    def command(self) -> str | None:
        """The shell command that gets it; None where the study does not say from where."""
        if self.state != ABSENT:
            return None
        if self.path in (files.WEIGHTS, files.TOKENIZER):
            return command_line("train-quickstart")
        if self.twin is not None:
            return f"mv {shlex.quote(str(self.twin))} {shlex.quote(str(self.path))}"
        return self.pull

    @property
    def how(self) -> str:
        """The command, or what to do without one."""
        if self.command is not None:
            return self.command
        if self.state != ABSENT:
            return "Look at the path, and at the permissions of its folders."
        if self.kind == LAMBADA:
            return f"Put the file at {self.shown}, or name it in the study as hf://… or https://…."
        key = "source" if self.kind == "weights" else "tokenizer_source"
        place = "into a folder named in $HARNESS_MODELS" if self.why else f"at {self.shown}"
        under = f"below models: {self.models[0]}:, as '{key}: https://…'"
        return f"Put the file {place}, or say in the study where it comes from, {under}."

    @property
    def origin(self) -> str | None:
        """Where the command downloads it from, and how large it is if that is known."""
        if self.source is None or self.command != self.pull:
            return None
        size = "" if self.size is None else f" ({written(self.size)})"
        return f"from {self.source}{size}"


def missing_files(loaded: LoadedStudy) -> tuple[MissingFile, ...]:
    """Every file that a cell of the study needs and that is not there, each once.

    Weights are needed by every cell, tokenizers by what reads or writes text, and LAMBADA by the
    quality workload, which does without.
    """
    needed = dict.fromkeys(
        (cell.model, kind) for cell in cells(loaded.study) for kind in kinds_needed(cell.workload)
    )
    found: dict[Path, MissingFile] = {}
    for model, kind in needed:
        one = _found(loaded, model, kind)
        state = why_absent(one.where) if one is not None and one.random is None else None
        if one is None or state is None:
            continue
        known = found.get(one.where)
        models = (*(known.models if known else ()), model)
        found[one.where] = _missing(loaded, kind, one, state, models)
    return tuple(found.values())


def kinds_needed(workload: str) -> Iterator[str]:
    """The kinds of files that a workload reads."""
    yield "weights"
    if workload in WITH_TOKENIZER:
        yield "tokenizer"
    if workload == "quality":
        yield LAMBADA


def _found(loaded: LoadedStudy, model: str, kind: str) -> Found | None:
    """How a file was found; None for one that is not asked for."""
    if kind == LAMBADA:
        return loaded.lambada
    of_model = loaded.files[model]
    return of_model.found if kind == "weights" else of_model.found_tokenizer


def why_absent(path: Path) -> str | None:
    """None for a path that leads to something; else `missing`, or why that cannot be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except (OSError, ValueError) as error:
        return f"cannot be seen ({getattr(error, 'strerror', None) or error})"
    return None


def describe_missing(missing: Iterable[MissingFile]) -> str:
    """What is missing and how to get it, for people: a line each, the command by itself."""
    lines = []
    for file in missing:
        state = "is missing" if file.state == ABSENT else file.state
        lines.append(f"{file.shown} ({file.kind} of {', '.join(file.models)}) {state}:")
        lines += [f"  {line}" for line in (file.why, file.how, file.origin) if line]
    return "\n".join(lines)


def next_step(missing: Iterable[MissingFile], pull: str, run: str) -> str:
    """What to do now, in a line: download, another command, or `run` once the files are there."""
    commands = [(one.command, one.command == one.pull) for one in missing if one.command]
    if any(is_pull for _, is_pull in commands):
        return f"Next: {pull}"
    if commands:
        return f"Next: {commands[0][0]}"
    return f"Next, with the files in place: {run}"


def _missing(
    loaded: LoadedStudy,
    kind: str,
    found: Found,
    state: str,
    models: tuple[str, ...],
) -> MissingFile:
    path = found.where
    twin = path.with_name(path.name.replace("%", "%25"))
    as_named = found.path is None and (
        found.target is None
        or found.entry is not None
        or (not path.suffix and found.missing.startswith("no file"))
    )
    return MissingFile(
        kind=kind,
        models=models,
        path=path,
        source=None if found.remote is None else found.remote.url,
        twin=twin if twin != path and why_absent(twin) is None else None,
        state=state,
        named=found.text if as_named else None,
        why=_why(found) if state == ABSENT and found.remote is None else "",
        size=None if found.locked is None else found.locked.size,
        pull=None if found.remote is None else _pull(loaded),
    )


def _pull(loaded: LoadedStudy) -> str:
    study = files.BUILTIN if loaded.path == files.STUDY else loaded.path
    return command_line("pull", study, *loaded.settings.words)


def _why(found: Found) -> str:
    """Where a name was looked for; a path has nothing to add."""
    return "" if found.missing.startswith("there is no file") else found.missing
