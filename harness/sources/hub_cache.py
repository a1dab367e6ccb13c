"""The hub's cache on this disk, read without the library that writes it.

Its layout is documented: `models--OWNER--NAME/{refs/BRANCH, snapshots/COMMIT/FILE, blobs/HASH}`,
where files of snapshots are links to blobs, and a blob of weights is called by its sha256.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.sources.hashes import is_sha256
from harness.sources.paths import entries, is_file, real
from harness.sources.reference import HubFile

_PREFIX = "models--"


def hub_cache() -> Path:
    """The folder, found as huggingface_hub finds it; it may not exist."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "huggingface" / "hub"


def cached(hub: HubFile, revision: str | None = None, *, cache: Path | None = None) -> Path | None:
    """Where the hub's file lies at a revision (its own by default); None where it does not."""
    repo = _repo_folder(hub.repo, cache)
    path = repo / "snapshots" / _commit(repo, revision or hub.revision) / hub.file
    return path if is_file(path) else None


def expected(hub: HubFile) -> Path:
    """Where the file would lie; for messages, since a branch has no folder of its own."""
    return _repo_folder(hub.repo, None) / "snapshots" / hub.revision / hub.file


def blob_sha256(path: Path) -> str | None:
    """The sha256 by which the hub calls the blob that `path` leads to, if it does."""
    target = real(path)
    named = target.parent.name == "blobs" and is_sha256(target.name)
    return target.name if named else None


def cached_files(suffixes: tuple[str, ...]) -> Iterator[tuple[HubFile, Path]]:
    """Every whole file with one of `suffixes`, once per content, of `main` before others."""
    for repo in _folders(hub_cache(), _PREFIX):
        name = repo.name[len(_PREFIX) :].replace("--", "/", 1)
        branches = {_commit(repo, ref.name): ref.name for ref in entries(repo / "refs")}
        seen: set[Path] = set()
        commits = sorted(
            _folders(repo / "snapshots"),
            key=lambda commit: (branches.get(commit.name) != "main", commit.name),
        )
        for commit in commits:
            for path in sorted(commit.rglob("*")):
                blob = real(path)
                if not path.name.endswith(suffixes) or blob in seen or not is_file(path):
                    continue
                seen.add(blob)
                file = path.relative_to(commit).as_posix()
                revision = branches.get(commit.name, commit.name)
                yield HubFile(repo=name, file=file, revision=revision), path


def _repo_folder(repo: str, cache: Path | None) -> Path:
    return (cache or hub_cache()) / f"{_PREFIX}{repo.replace('/', '--')}"


def _commit(repo: Path, revision: str) -> str:
    try:
        return (repo / "refs" / revision).read_text("utf-8").strip() or revision
    except (OSError, UnicodeDecodeError, ValueError):
        return revision


def _folders(parent: Path, prefix: str = "") -> list[Path]:
    return [path for path in entries(parent) if path.name.startswith(prefix) and path.is_dir()]
