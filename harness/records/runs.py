"""Find and name run folders under `results/<machine>/`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness.records.store import FACTS_NAME, RECORDS_NAME

_TIME = "%Y%m%dT%H%M%SZ"


def new_run_path(machine_folder: Path, study: str, now: datetime | None = None) -> Path:
    """A folder name that is not taken: the study and the UTC time."""
    now = now or datetime.now(timezone.utc)
    path = machine_folder / f"{study}-{now.strftime(_TIME)}"
    suffix = 2
    while path.exists():
        path = machine_folder / f"{study}-{now.strftime(_TIME)}-{suffix}"
        suffix += 1
    return path


def runs_of_study(machine_folder: Path, identity: Mapping[str, Any]) -> Iterator[Path]:
    """Folders of runs of the same study, newest first.

    `identity` is what must be equal in the run's facts: hashes of content. A weights or tokenizer
    hash that is None there (the file was missing then) is equal to any.
    """
    for facts_file in sorted(
        machine_folder.glob(f"*/{FACTS_NAME}"), key=lambda file: file.parent.name, reverse=True
    ):
        if not (facts_file.parent / RECORDS_NAME).is_file():
            continue
        try:
            facts = json.loads(facts_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # not a run of ours, or a run that died before it began
        if isinstance(facts, dict) and _same(facts.get("identity"), identity):
            yield facts_file.parent


def _same(recorded: Any, wanted: Any) -> bool:
    if isinstance(recorded, dict) and isinstance(wanted, Mapping):
        return recorded.keys() == wanted.keys() and all(
            _same(recorded[key], wanted[key]) for key in wanted
        )
    return recorded is None or bool(recorded == wanted)
