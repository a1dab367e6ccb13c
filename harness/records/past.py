"""What earlier runs of a machine say of how long things take: a few fields of each record.

Reads the newest runs of a folder, and of their records only what a forecast of time needs. A file
that cannot be read says nothing, and is no error: the past is a help, not an input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from harness.records.latency import Prefill
from harness.records.store import RECORDS_NAME, RESOLVED_NAME

MOST_BYTES = 2**24  # of all records together: a plan must not wait for years of them


class PastCell(Struct, frozen=True, kw_only=True):
    """Which cell."""

    model: str
    engine: str
    strategy: str
    workload: str
    threads: int
    batch: int = 1
    sampling: str | None = None
    prompt: str | None = None


class PastOutcome(Struct, frozen=True, kw_only=True):
    """How it ended."""

    kind: str


class PastCooling(Struct, frozen=True, kw_only=True):
    """How long it was waited for the machine to cool down."""

    waited_s: float | None = None


class PastAnswer(Struct, frozen=True, kw_only=True):
    """One answer."""

    token_ids: list[int] = field(default_factory=list)
    prefill_s: float | None = None
    decode_s: list[float] = field(default_factory=list)


class PastRecord(Struct, frozen=True, kw_only=True):
    """One trial, as far as its time goes."""

    cell: PastCell
    outcome: PastOutcome
    took_s: float | None = None
    load_s: float | None = None
    prefill: list[Prefill] = field(default_factory=list)
    decode_s: list[list[float]] = field(default_factory=list)
    answers: list[PastAnswer] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    cooling: PastCooling | None = None
    # Of its study:
    asked: dict[str, Any] = field(default_factory=dict)  # the workloads, by name
    cooldown: Any = None

    @property
    def weights_sha256(self) -> str | None:
        """Of the original weights."""
        digest = self.facts.get("weights_sha256")
        return digest if isinstance(digest, str) else None


class _Study(Struct, frozen=True, kw_only=True):
    workloads: dict[str, Any] = field(default_factory=dict)
    cooldown: Any = None


_RECORD = msgspec.json.Decoder(PastRecord)


def past_records(machine_folder: Path) -> Iterator[PastRecord]:
    """Those that ended well, of the newest runs below the folder, the newest run first."""
    left = MOST_BYTES
    files = sorted(machine_folder.glob(f"*/{RECORDS_NAME}"), key=_modified, reverse=True)
    for path in files:
        if left <= 0:
            return
        study = _study(path.with_name(RESOLVED_NAME))
        data = _end(path, left)
        left -= len(data)
        for line in data.split(b"\n"):
            with suppress(msgspec.DecodeError):  # half a line, a damaged one, or another schema
                record = _RECORD.decode(line)
                if record.outcome.kind in ("ok", "noisy"):
                    asked = {"asked": study.workloads, "cooldown": study.cooldown}
                    yield structs.replace(record, **asked)


def _study(path: Path) -> _Study:
    """What a run's study asked for; nothing where it does not tell."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Study)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return _Study()


def _end(path: Path, most: int) -> bytes:
    """At most so many bytes of the file's end."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            return file.read()
    except OSError:
        return b""


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
