"""Find and name run folders under `results/<machine>/`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness.records.store import FACTS_NAME, RECORDS_NAME, RESOLVED_NAME
from harness.records.writing import write_json

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


def runs_of_study(
    machine_folder: Path, identity: Mapping[str, Any], settings: Sequence[str] = ()
) -> Iterator[Path]:
    """Folders of runs of the same study, newest first.

    `identity` is what must be equal in the run's facts: hashes of content, versions of what
    computes. `settings` is what was set, with paths, as earlier releases kept it there.
    """
    wanted = [identity, {**identity, "set": sorted(settings)}] if settings else [identity]
    for facts_file in sorted(
        machine_folder.glob(f"*/{FACTS_NAME}"), key=lambda file: file.parent.name, reverse=True
    ):
        if not (facts_file.parent / RECORDS_NAME).is_file():
            continue
        recorded = _identity(facts_file)
        if recorded is not None and any(_same(recorded, one) for one in wanted):
            yield facts_file.parent


def answered_once(folder: Path) -> bool:
    """Whether a run is of a release whose workload `answers` had one trial, and no key for it."""
    try:
        study = json.loads((folder / RESOLVED_NAME).read_text(encoding="utf-8"))
        return "trials" not in study["workloads"]["answers"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # it has no answers, or tells nothing


def note_answer_trials(folder: Path, trials: int) -> None:
    """Let a run of such a release have so many from now on: it is gone on with, and asks for more.

    Without it, it would count as finished as soon as every cell has one.
    """
    path = folder / RESOLVED_NAME
    study = json.loads(path.read_text(encoding="utf-8"))
    study["workloads"]["answers"]["trials"] = trials
    write_json(path, study)


def software_changes(
    machine_folder: Path, identity: Mapping[str, Any], settings: Sequence[str] = ()
) -> Iterator[str]:
    """What the newest run of the same study was computed with, where that has changed since."""
    for folder in runs_of_study(machine_folder, {**identity, "software": None}, settings):
        before = (_identity(folder / FACTS_NAME) or {}).get("software") or {}
        changed = [
            f"{name} {before.get(name)}, now {now}"
            for name, now in identity["software"].items()
            if not _same(before.get(name), now)
        ]
        if changed:
            yield f"{folder.name} was measured with {'; '.join(changed)}"
        return


def note_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Keep in a run's facts what was not known when it began: hashes of files missing then."""
    path = folder / FACTS_NAME
    facts = json.loads(path.read_text(encoding="utf-8"))
    known = _merged(facts["identity"], identity)
    if known != facts["identity"]:
        facts["identity"] = known
        write_json(path, facts)


def _identity(facts_file: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not a run of ours, or a run that died before it began
    identity = facts.get("identity") if isinstance(facts, dict) else None
    return identity if isinstance(identity, dict) else None


def _merged(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _merged(value, now[key])
        if isinstance(value, dict)
        else (now[key] if value is None else value)
        for key, value in recorded.items()
    }


def _same(recorded: Any, wanted: Any) -> bool:
    """Equal, where a hash that is not known (the file was or is missing) is equal to any."""
    if isinstance(wanted, Mapping):
        return (
            isinstance(recorded, dict)
            and recorded.keys() == wanted.keys()
            and all(_same(recorded[key], wanted[key]) for key in wanted)
        )
    return recorded is None or wanted is None or bool(recorded == wanted)
