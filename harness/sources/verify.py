"""Hold the content of a file to what the user, a lock or the hub's cache says of it.

Compares hashes that others computed; opens nothing.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from harness.sources.finding import Found
from harness.sources.hub_cache import blob_sha256
from harness.sources.reference import HubFile

UPDATE = "python -m harness pull STUDY --update"
GET_AGAIN = "python -m harness pull MODEL"


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
        f"since it was first used. If that is meant, take it and record it: {UPDATE}"
    )


def why_damaged(path: Path, sha256: str) -> str | None:
    """None unless `path` is in the hub's cache, and is not what the cache calls it."""
    blob = blob_sha256(path)
    if blob in (None, sha256):
        return None
    return f"has sha256 {sha256} and was {blob}: it is damaged. Get it again: {GET_AGAIN}"


def known_revision(found: Found) -> str | None:
    """The commit that a file in the hub's cache is of; None for every other file."""
    if found.path is None or not isinstance(found.remote, HubFile):
        return None
    folders = found.path.parts[: -len(PurePosixPath(found.remote.file).parts)]
    return folders[-1] if folders[-2:-1] == ("snapshots",) else None
