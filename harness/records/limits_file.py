"""The file of a run's folder that keeps what the machine could do at best, each time it was asked.

Written whole or not at all; one that is damaged is left out with a note, for the records hold what
was computed with it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.records.roofline import LimitFile, LimitSet
from harness.records.writing import write_whole

LIMITS_NAME = "roofline.json"
SCHEMA = 1


def read_limits(folder: Path) -> tuple[tuple[LimitSet, ...], str | None]:
    """What was measured so far, and a note where the file cannot be read; nothing without it."""
    path = folder / LIMITS_NAME
    try:
        found = msgspec.json.decode(path.read_bytes(), type=LimitFile)
    except FileNotFoundError:
        return (), None
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        return (), f"{LIMITS_NAME} is left out: it cannot be read ({error})"
    if found.schema > SCHEMA:
        return (), f"{LIMITS_NAME} is left out: its schema {found.schema} is newer than {SCHEMA}"
    return tuple(found.measurements), None


def append_limits(folder: Path, measured: LimitSet) -> None:
    """Keep one more measurement. Raises `RecordsError` where the file cannot be written."""
    before, _ = read_limits(folder)
    path = folder / LIMITS_NAME
    write_whole(path, msgspec.json.encode(LimitFile(measurements=[*before, measured])) + b"\n")
