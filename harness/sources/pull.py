"""Get a file that a study or command names, check it, and put it in its place.

What lies in a place is whole and checked: bytes come beside it, under another name, and are renamed
when their hash is right. Knows nothing of studies, nor how progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import DownloadError, SourceError
from harness.sources.arrival import Arrival, Watch, bring, copy_into, git_sha1, hash_of
from harness.sources.finding import Found
from harness.sources.hub import HubVersion, ask_hub, blob_path, enter_cache
from harness.sources.lock import Locked
from harness.sources.paths import is_file
from harness.sources.places import DOWNLOADS, download_path
from harness.sources.reference import HubFile, UrlFile
from harness.sources.transfer import Wanted
from harness.sources.verify import (
    if_meant,
    known_revision,
    update_command,
    why_damaged,
    why_wrong,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """A file in its place."""

    path: Path
    sha256: str
    size: int  # bytes
    fresh: bool  # it was not there before
    locked: Locked | None = None  # what a lock should say of its source; None for none


def pull(found: Found, watch: Watch, *, folder: Path | None = None, update: bool = False) -> Pulled:
    """Have the file that `found` describes in its place, or in `folder`, whole and checked.

    `update` takes what the source has now, whatever the lock says. Raises `SourceError` for what
    cannot be got or is not what was expected, `DownloadError` for what went wrong on the way.
    """
    if found.random is not None:
        raise SourceError(f"{found.random} is made when it is loaded; there is nothing to pull.")
    if folder is not None:
        found = _towards(found, folder, watch)
    if found.path is not None and not (update and found.remote):
        there = _present(found, found.path, watch)
        if there is not None:
            return there
    if found.remote is None:
        raise SourceError(f"'{found.text}' ({found.kind}): {found.missing or 'has no source.'}")
    asked = replace(found, locked=None) if update else found
    if isinstance(found.remote, HubFile):
        return _from_hub(asked, found.remote, watch, update=update)
    return _from_url(asked, found.remote, watch, update=update)


def _towards(found: Found, folder: Path, watch: Watch) -> Found:
    """The same file, to lie in `folder`."""
    name = found.remote.name if found.path is None and found.remote else found.where.name
    target = folder / name
    if found.path is not None and not is_file(target):
        copy_into(found.path, target, watch)
    return replace(found, path=target if is_file(target) else None, target=target, place="path")


def _present(found: Found, path: Path, watch: Watch) -> Pulled | None:
    """The file that is there; None for one that the harness or the hub put there and is damaged."""
    sha256, size = hash_of(path, watch), path.stat().st_size
    wrong = why_wrong(found, sha256)
    if why_damaged(path, sha256) or (wrong and found.place == DOWNLOADS and found.remote):
        return None
    if wrong:
        raise SourceError(f"{path}: {wrong}")
    locked = found.locked
    if locked is None and found.is_remotes:  # of a file put there by hand nothing is known
        locked = Locked(sha256=sha256, size=size, revision=known_revision(found))
    return Pulled(path=path, sha256=sha256, size=size, fresh=False, locked=locked)


# -- from where it is to be had ----------------------------------------------------------------


def _from_hub(found: Found, remote: HubFile, watch: Watch, *, update: bool) -> Pulled:
    revision = None if found.locked is None else found.locked.revision
    watch.begin("Asking for", remote.name, None)
    try:
        version = ask_hub(remote, revision)
    except DownloadError as error:
        another = f" The lock asks for it; to take another: {update_command()}"
        hint = "" if revision is None else another
        raise DownloadError(f"{error}{hint}") from error
    wrong = None if version.sha256 is None else why_wrong(found, version.sha256)
    if wrong:
        raise SourceError(f"{remote.shown}: what the hub has {wrong}")
    at = replace(remote, revision=version.commit)
    arrived = bring(
        Wanted(url=at.url, headers=version.headers, size=version.size, checked=True),
        found.target or blob_path(remote, version),
        _hub_check(found, version),
        watch,
        name=remote.name,
        tag=version.etag[:12],
        may_replace=update or found.target is None,
    )
    path = arrived.path if found.target else enter_cache(remote, revision)
    return _pulled(arrived, path, version.commit)


def _hub_check(found: Found, version: HubVersion) -> Callable[[Path, str], str | None]:
    def check(path: Path, sha256: str) -> str | None:
        came = sha256 if version.sha256 else git_sha1(path)
        if len(version.etag) in (40, 64) and came != version.etag:
            return f"has the hash {came}, and the hub says {version.etag}."
        return why_wrong(found, sha256)

    return check


def _from_url(found: Found, remote: UrlFile, watch: Watch, *, update: bool) -> Pulled:
    arrived = bring(
        Wanted(
            url=remote.request,
            size=None if found.locked is None else found.locked.size,
            other_size=if_meant(),
            checked=found.expected_sha256 is not None,
        ),
        found.target or download_path(remote),
        lambda _path, sha256: why_wrong(found, sha256),
        watch,
        name=remote.name,
        tag=remote.key,
        may_replace=update or found.target is None,
        renew=update,
    )
    return _pulled(arrived, arrived.path, arrived.etag)


def _pulled(arrived: Arrival, path: Path, revision: str | None) -> Pulled:
    return Pulled(
        path=path,
        sha256=arrived.sha256,
        size=arrived.size,
        fresh=arrived.fresh,
        locked=Locked(sha256=arrived.sha256, size=arrived.size, revision=revision),
    )
