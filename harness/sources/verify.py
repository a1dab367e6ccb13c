"""Hold the content of a file to what the user, a lock or the hub's cache says of it.

Compares hashes that others computed; opens nothing.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from harness.invocation import command_line
from harness.sources.finding import Found
from harness.sources.hub_cache import blob_sha256
from harness.sources.reference import HubFile


def if_meant() -> str:
    """What to do about other content, where it is not a mistake."""
    return f"If that is meant, take it and record it: {update_command()}"


def update_command() -> str:
    """How to take what a source has now, whatever the lock says."""
    return command_line("pull", "STUDY", "--update")


def why_wrong(found: Found, sha256: str) -> str | None:
    """None where the content is what the user, or else the lock, says; else what differs."""
    if found.sha256 is not None:
        if sha256 == found.sha256:
            return None
        return f"has sha256 {sha256}, and the study (or models.yaml) says {found.sha256}."
    if found.locked is None or sha256 == found.locked.sha256:
        return None
    return (
        f"has sha256 {sha256}, and the study's lock says {found.locked.sha256}: it has changed "
        f"since it was first used. {if_meant()}"
    )


def why_damaged(path: Path, sha256: str) -> str | None:
    """None unless `path` is in the hub's cache, and is not what the cache calls it."""
    blob = blob_sha256(path)
    if blob in (None, sha256):
        return None
    get_it = command_line("pull", "STUDY")  # which names it, also what is no model
    return f"has sha256 {sha256} and was {blob}: it is damaged. Get it again: {get_it}"


def known_revision(found: Found) -> str | None:
    """The commit that a file in the hub's cache is of; None for every other file."""
    if found.path is None or not isinstance(found.remote, HubFile):
        return None
    folders = found.path.parts[: -len(PurePosixPath(found.remote.file).parts)]
    return folders[-1] if folders[-2:-1] == ("snapshots",) else None
