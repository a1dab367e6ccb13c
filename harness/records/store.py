"""A run's folder: what is kept, appended and read again.

    results/<machine>/<run>/{study.yaml, facts.json, plan.json, records.jsonl, …}

Records are appended one JSON line at a time, each flushed and synced before the next trial begins,
so that a run that is killed keeps all it measured. A torn last line is dropped with a note; a line
that is damaged elsewhere is an error, because it means that somebody edited the file. One process
at a time appends to a run.
Knows neither measuring nor showing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.config.study import Study
from harness.errors import RecordsError
from harness.records.limits_file import read_limits
from harness.records.quality import unfit
from harness.records.record import RETRIED, SCHEMA, CellRef, Record
from harness.records.roofline import LimitSet
from harness.records.writing import sync_folder, unwritable, write_json, write_whole

STUDY_NAME = "study.yaml"  # the study's own text, for people
RESOLVED_NAME = "study.json"  # the study as it was understood: extended, with every default
FACTS_NAME = "facts.json"
PLAN_NAME = "plan.json"
RECORDS_NAME = "records.jsonl"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder, read."""

    path: Path
    records: tuple[Record, ...]
    study: Study
    facts: dict[str, Any]
    plan: list[dict[str, Any]]
    notes: tuple[str, ...] = ()
    limits: tuple[LimitSet, ...] = ()  # of the machine, each time they were measured


class RecordStore:
    """What a run's `records.jsonl` holds, and the one way to append to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / RECORDS_NAME
        self.records: list[Record] = []
        self.notes: tuple[str, ...] = ()  # what was found damaged, and left out
        self.latest: dict[tuple[str, int], Record] = {}  # last attempt, by cell's id and trial
        self.is_locked = True  # False: a second process would not be refused here
        self._keys: set[tuple[str, int, int]] = set()
        self._file: RawIOBase | None = None
        self._read()

    def _read(self) -> int:
        """Read all records; returns how many bytes of the file are whole lines."""
        records, self.notes, intact = _read_records(self.path)
        self.records = list(records)
        self.latest, self._keys = {}, set()
        for record in records:
            self._count(record)
        return intact

    def _count(self, record: Record) -> None:
        trial = (record.cell.id, record.trial)
        self._keys.add((*trial, record.attempt))
        if trial not in self.latest or self.latest[trial].attempt < record.attempt:
            self.latest[trial] = record

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Hold the file for this process alone, without the torn line of a run that was killed.

        Raises `RecordsError` where another process holds it, or it cannot be written.
        """
        try:
            # Unbuffered: nothing that could not be written may be tried again at the end.
            file = self.path.open("r+b", buffering=0)
        except OSError as error:
            raise unwritable(self.path, error) from error
        with file:
            self.is_locked = _lock(file, self.folder)
            file.truncate(self._read())
            file.seek(0, os.SEEK_END)
            self._file = file
            try:
                yield
            finally:
                self._file = None

    def append(self, record: Record) -> None:
        """Write one record and sync it to the disk, inside `appending`.

        Raises `RecordsError` when this attempt of this trial is already there, or the disk does not
        take it; then nothing of it stays in the file.
        """
        if self._file is None:
            raise RecordsError(f"{self.path}: append only inside appending()")
        key = (record.cell.id, record.trial, record.attempt)
        if key in self._keys:
            raise RecordsError(f"{self.path}: {key} is already recorded")
        before = self._file.tell()
        try:
            _write_all(self._file, msgspec.json.encode(record) + b"\n")
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # else the next run drops the torn line
                self._file.truncate(before)
                self._file.seek(before)
            raise unwritable(self.path, error) from error
        self.records.append(record)
        self._count(record)

    def is_finished(self, cell_id: str, trial: int) -> bool:
        """Whether this trial has an outcome that is final."""
        latest = self.latest.get((cell_id, trial))
        return latest is not None and latest.outcome.kind not in RETRIED

    def next_attempt(self, cell_id: str, trial: int) -> int:
        """The number of the attempt that would come next."""
        latest = self.latest.get((cell_id, trial))
        return 0 if latest is None else latest.attempt + 1

    def latest_outcome(self, cell_id: str, trial: int) -> str | None:
        """The outcome of the last attempt, or None before the first."""
        latest = self.latest.get((cell_id, trial))
        return None if latest is None else latest.outcome.kind


def _write_all(file: RawIOBase, data: bytes) -> None:
    """A disk that is nearly full takes a part, and refuses the rest."""
    left = memoryview(data)
    while left:
        written = file.write(left)
        left = left[written or 0 :]


def _lock(file: RawIOBase, folder: Path) -> bool:
    """Lock the file until it is closed; False on a file system that has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(folder) from None
    except OSError:
        return False
    return True


def _taken(folder: Path) -> RecordsError:
    return RecordsError(
        f"{folder}: another process is measuring into this run. Wait until it is done (two would "
        "disturb each other), or start a run of your own with --fresh."
    )


def create_run_folder(
    path: Path,
    *,
    study_text: str,
    study: Study,
    facts: Mapping[str, Any],
    plan: Iterable[Mapping[str, Any]],
) -> None:
    """Make a new run's folder with all that is known before the first trial."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise _taken(path) from None  # between looking and making: by who began the same study
    except OSError as error:
        raise unwritable(path, error) from error
    write_whole(path / STUDY_NAME, study_text.encode("utf-8"))
    write_whole(path / RESOLVED_NAME, msgspec.json.encode(study) + b"\n")
    write_json(path / FACTS_NAME, facts)
    write_plan(path, plan)
    write_whole(path / RECORDS_NAME, b"")  # the last: without it the folder is no run
    for folder in (path.parent, path.parent.parent):
        sync_folder(folder)


def write_plan(path: Path, plan: Iterable[Mapping[str, Any]]) -> None:
    """Keep the plan that a run follows from now on: it may go on with other devices or files."""
    write_json(path / PLAN_NAME, list(plan))


def read_run(path: str | Path) -> Run:
    """Read a run folder; raises `RecordsError` where it is not one, or is damaged."""
    path = Path(path)
    if not (path / RECORDS_NAME).is_file():
        raise RecordsError(
            f"{path}: not a run folder: it has no {RECORDS_NAME}. A run's folder is "
            "results/<machine>/<run>, as 'run' prints it at the end."
        )
    records, notes, _ = _read_records(path / RECORDS_NAME)
    limits, note = read_limits(path)
    return Run(
        path=path,
        records=records,
        study=_read_file(path / RESOLVED_NAME, Study),
        facts=_read_file(path / FACTS_NAME, dict[str, Any]),
        plan=msgspec.to_builtins(_read_file(path / PLAN_NAME, list[PlanEntry])),
        notes=notes if note is None else (*notes, note),
        limits=limits,
    )


class PlanEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One planned cell, as `plan.json` keeps it."""

    cell: CellRef
    trials: int
    skip_reason: str | None = None
    same_as: str | None = None  # the id of the cell that is measured for it
    weight_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    forecast_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    warnings: list[str] = msgspec.field(default_factory=list)


T = TypeVar("T")


def _read_file(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordsError(
            f"{path}: missing or damaged ({error}). Copy it back from a backup, or start a new run "
            "with --fresh; the records themselves are in records.jsonl."
        ) from error


def _read_records(path: Path) -> tuple[tuple[Record, ...], tuple[str, ...], int]:
    """The records of a file, notes, and how many of its bytes are whole lines."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordsError(f"{path}: cannot be read ({error.strerror or error})") from error
    whole, newline, torn = data.rpartition(b"\n")
    notes: tuple[str, ...] = ()
    if torn:
        notes = (f"the last line of {path.name} was cut off in writing, and is left out",)
    lines = whole.split(b"\n") if newline else []
    records = tuple(_decode(line, number, path) for number, line in enumerate(lines, start=1))
    return records, notes, len(data) - len(torn)


def _decode(line: bytes, number: int, path: Path) -> Record:
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise _damaged(path, number, error) from error
    if record.schema > SCHEMA:
        raise RecordsError(
            f"{path}:{number}: schema {record.schema} is newer than this harness knows "
            f"({SCHEMA}). Update rwkv-harness to read it."
        )
    why = None if record.quality is None else unfit(record.quality)
    if why is not None:
        raise _damaged(path, number, why)
    return record


def _damaged(path: Path, number: int, why: object) -> RecordsError:
    return RecordsError(
        f"{path}:{number}: not a record: {why}. Somebody changed the file, or its disk failed. "
        "Without that line the run can be read, and goes on."
    )
