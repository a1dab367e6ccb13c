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
from msgspec import Struct, field

from harness.records.latency import Prefill
from harness.records.store import RECORDS_NAME

NEWEST_RUNS = 10
_MOST_BYTES = 2**25  # of a file's end: a plan must not wait for years of records


class PastCell(Struct, frozen=True, kw_only=True):
    """Which cell."""

    model: str
    engine: str
    strategy: str
    workload: str
    threads: int
    batch: int = 1


class PastOutcome(Struct, frozen=True, kw_only=True):
    """How it ended."""

    kind: str


class PastAnswer(Struct, frozen=True, kw_only=True):
    """One answer."""

    token_ids: list[int] = field(default_factory=list)
    prompt_tokens: int | None = None
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

    @property
    def weights_sha256(self) -> str | None:
        """Of the original weights."""
        digest = self.facts.get("weights_sha256")
        return digest if isinstance(digest, str) else None


_RECORD = msgspec.json.Decoder(PastRecord)


def past_records(machine_folder: Path) -> Iterator[PastRecord]:
    """Those that ended well, of the newest runs below the folder, the newest run first."""
    files = sorted(machine_folder.glob(f"*/{RECORDS_NAME}"), key=_modified, reverse=True)
    for path in files[:NEWEST_RUNS]:
        for line in _lines(path):
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                record = _RECORD.decode(line)
                if record.outcome.kind in ("ok", "noisy"):
                    yield record


def _lines(path: Path) -> list[bytes]:
    """Whole lines of the file's end."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(0, size - _MOST_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    return [line for line in lines[size > _MOST_BYTES :] if line]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
