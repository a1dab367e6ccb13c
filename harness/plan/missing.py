"""The files a study needs that are not there, and how to get them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.config.load import LoadedStudy
from harness.plan.matrix import cells
from harness.quickstart import files

ABSENT = "missing"
TRAIN = "python -m harness train-quickstart"


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingFile:
    """One file that is not there."""

    kind: str  # weights or tokenizer
    models: tuple[str, ...]  # the models of the study that need it
    path: Path
    source: str | None  # its URL, where the study gives one
    twin: Path | None = None  # the same file under the name its URL has
    state: str = ABSENT  # or why it cannot be seen, though it may be there

    @property
    def shown(self) -> str:
        """The path as the user knows it."""
        shipped = self.path in (files.WEIGHTS, files.TOKENIZER)
        return f"{files.BUILTIN} ({self.path.name})" if shipped else str(self.path)

    @property
    def command(self) -> str | None:
        """The shell command that gets it; None where the study does not say from where."""
        target = shlex.quote(str(self.path))
        if self.state != ABSENT:
            return None
        if self.path in (files.WEIGHTS, files.TOKENIZER):
            return TRAIN
        if self.twin is not None:
            return f"mv {shlex.quote(str(self.twin))} {target}"
        if self.source is None:
            return None
        return f"curl -fL --create-dirs -o {target} {shlex.quote(self.source)}"

    @property
    def how(self) -> str:
        """The command, or what to do without one."""
        if self.command is not None:
            return self.command
        if self.state != ABSENT:
            return "Look at the path, and at the permissions of its folders."
        key = "source" if self.kind == "weights" else "tokenizer_source"
        return f"Put the file there, or give its URL in the study as '{key}:'."


def missing_files(loaded: LoadedStudy) -> tuple[MissingFile, ...]:
    """Every file that a cell of the study needs and that is not there, each once.

    Weights are needed by every cell, tokenizers by the workload `answers`.
    """
    needed = dict.fromkeys(
        (cell.model, kind)
        for cell in cells(loaded.study)
        for kind in (("weights", "tokenizer") if cell.workload == "answers" else ("weights",))
    )
    found: dict[Path, MissingFile] = {}
    for model, kind in needed:
        path = getattr(loaded.files[model], kind)
        state = why_absent(path) if isinstance(path, Path) else None
        if state is None:
            continue
        known = found.get(path)
        found[path] = _missing(loaded, kind, path, state, (*(known.models if known else ()), model))
    return tuple(found.values())


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
    """What is missing and how to get it, for people: two lines per file."""
    return "\n".join(
        f"{file.shown} ({file.kind} of {', '.join(file.models)}) "
        f"{'is missing' if file.state == ABSENT else file.state}:\n  {file.how}"
        for file in missing
    )


def _missing(
    loaded: LoadedStudy, kind: str, path: Path, state: str, models: tuple[str, ...]
) -> MissingFile:
    described = loaded.study.models[models[0]]
    source = described.source if kind == "weights" else described.tokenizer_source
    twin = path.with_name(path.name.replace("%", "%25"))
    return MissingFile(
        kind=kind,
        models=models,
        path=path,
        source=source,
        twin=twin if twin != path and why_absent(twin) is None else None,
        state=state,
    )
