"""From what people write to a file, or to the way to get it.

`weights:` and `tokenizer:` of a study, and MODEL of every command, take: a path (its suffix may be
left out), a bare name, `hf://owner/repo/file[@revision]`, `https://…`, `random:SIZE`,
`builtin:quickstart`. Looks at names of files; reads none but the user's models.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import SourceError
from harness.invocation import command_line
from harness.quickstart import files
from harness.sources.hub_cache import blob_sha256, cached, expected
from harness.sources.lock import Locked
from harness.sources.naming import look_up, nearest_names, only
from harness.sources.paths import is_file, joined
from harness.sources.places import (
    DOWNLOADS,
    HUB_CACHE,
    SUFFIXES,
    Candidate,
    Kind,
    download_path,
    where_looked,
)
from harness.sources.random_weights import is_random, why_not_random
from harness.sources.reference import HubFile, Remote, UrlFile, parse_remote, without_secrets
from harness.sources.settings import FILE, Entry

_BUILTIN = "builtin:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Where a file lies, or how to get it."""

    text: str  # what was asked for, without passwords
    kind: Kind = "weights"
    path: Path | None = None  # the file; None where it is not there, and for random weights
    place: str = "path"  # path, shipped, $HARNESS_MODELS, models.yaml, ./models, hub cache, …
    random: str | None = None  # `random:SIZE`
    remote: Remote | None = None  # where it can be had
    is_remotes: bool = False  # the file is known to have come from there
    target: Path | None = None  # where it is to lie, if that was said
    sha256: str | None = None  # what its content must have, as the user says
    locked: Locked | None = None  # what its content had when it was first used
    entry: Entry | None = None  # what models.yaml says of it
    missing: str = ""  # why there is no path

    @property
    def where(self) -> Path:
        """Where the file lies, or will lie as far as that can be told; not for random weights."""
        if self.path is not None or self.target is not None:
            return self.path or self.target or Path()
        if isinstance(self.remote, HubFile):
            return expected(self.remote)
        return Path(self.text) if self.remote is None else download_path(self.remote)

    @property
    def expected_sha256(self) -> str | None:
        """What the content must have, by the user's word or else by the lock."""
        return self.sha256 or (None if self.locked is None else self.locked.sha256)

    def need(self) -> Path:
        """The file. Raises `SourceError`, with the way to get it, where it is not there."""
        if self.path is not None:
            return self.path
        if self.random is not None:
            raise SourceError(f"{self.random} has no file; name real weights.")
        raise SourceError(f"'{self.text}' ({self.kind}): {self.missing}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    text: str
    base: Path
    kind: Kind
    source: str | None
    sha256: str | None
    lock: Mapping[str, Locked] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()  # names of models.yaml that led here

    def answer(self, **known: object) -> Found:
        found = Found(text=without_secrets(self.text), kind=self.kind, sha256=self.sha256)
        return replace(found, **known)  # type: ignore[arg-type]


def find(
    text: str,
    *,
    base: Path | None = None,
    kind: Kind = "weights",
    source: str | None = None,
    sha256: str | None = None,
    lock: Mapping[str, Locked] | None = None,
) -> Found:
    """Find what `text` names; a path is seen from the folder `base`, by default the one we are in.

    `source` says where it can be had if a path or name leads nowhere; `sha256` and `lock` what its
    content must be. A file that is not there is no error: `Found.path` is None then. Raises
    `SourceError` for a text that cannot be understood, and for a name that means several files.
    """
    return _find(
        _Question(
            text=text,
            base=Path() if base is None else base,
            kind=kind,
            source=source,
            sha256=sha256,
            lock=lock or {},
        )
    )


def _find(asked: _Question) -> Found:
    text = asked.text
    if not text or "\0" in text:
        raise SourceError("no file is named. Give a path, a name, hf://… or https://….")
    if text.startswith(_BUILTIN):
        return _builtin(asked)
    if asked.kind == "weights" and is_random(text):
        wrong = why_not_random(text)
        if wrong:
            raise SourceError(wrong)
        return asked.answer(random=text, place="random")
    remote = parse_remote(text)
    return _of_remote(asked, remote) if remote else _of_path_or_name(asked)


def _builtin(asked: _Question) -> Found:
    if asked.kind == "lambada":
        raise SourceError(f"'{asked.text}' does not exist: LAMBADA is not shipped.")
    if asked.text != files.BUILTIN:
        raise SourceError(f"'{asked.text}' does not exist. Allowed: {files.BUILTIN}.")
    path = files.WEIGHTS if asked.kind == "weights" else files.TOKENIZER
    if is_file(path):
        return asked.answer(path=path, place="shipped")
    train = command_line("train-quickstart")
    return asked.answer(target=path, missing=f"is missing. Make it again: {train}")


# -- hubs and other servers --------------------------------------------------------------------


def _of_remote(asked: _Question, remote: Remote) -> Found:
    locked = asked.lock.get(remote.shown)
    found = asked.answer(remote=remote, locked=locked)
    if isinstance(remote, UrlFile):
        path = download_path(remote)
        if is_file(path):
            return replace(found, path=path, place=DOWNLOADS, is_remotes=True)
    else:
        for revision in (locked.revision if locked else None, None):
            cached_path = cached(remote, revision)
            blob = None if cached_path is None else blob_sha256(cached_path)
            wanted = found.expected_sha256
            if cached_path is not None and (None in (blob, wanted) or blob == wanted):
                return replace(found, path=cached_path, place=HUB_CACHE, is_remotes=True)
    get_it = command_line("pull", found.text)
    return replace(found, missing=f"is not here yet. Get it: {get_it}")


def _source(asked: _Question) -> Remote | None:
    if asked.source is None:
        return None
    remote = parse_remote(asked.source)
    if remote is None:
        shown = without_secrets(asked.source)
        raise SourceError(f"'{shown}' is not a URL; it begins with https:// or hf://.")
    return remote


# -- paths and names ---------------------------------------------------------------------------


def _of_path_or_name(asked: _Question) -> Found:
    remote = _source(asked)
    locked = None if remote is None else asked.lock.get(remote.shown)
    path = joined(asked.base, asked.text)
    there = _with_suffix(asked, path)
    if there is not None:
        return asked.answer(path=there, remote=remote, locked=locked)
    is_name = _is_name(asked.text)
    if is_name:
        named = _of_name(asked)
        if named is not None:
            if remote is None or remote == named.remote:
                return named
            return replace(named, remote=remote, locked=locked, is_remotes=False)
    if remote is not None and is_name and path.suffix not in SUFFIXES[asked.kind]:
        return _of_remote(asked, remote)
    missing = f"there is no file {path}"
    if is_name:
        missing = (
            f"no file of that name; looked beside {path.parent}, in {where_looked(asked.kind)}."
        )
        missing += nearest_names(asked.text, asked.kind)
    return asked.answer(target=path, remote=remote, locked=locked, missing=missing)


def _with_suffix(asked: _Question, path: Path) -> Path | None:
    """The file at `path`, or the one that it is without its suffix."""
    if is_file(path):
        return path
    if not path.name or path.suffix in SUFFIXES[asked.kind]:
        return None
    longer = [path.with_name(path.name + suffix) for suffix in SUFFIXES[asked.kind]]
    return only(asked.text, [one for one in longer if is_file(one)])


def _is_name(text: str) -> bool:
    separators = {os.sep, os.altsep, "/"} - {None}
    return not any(separator in text for separator in separators if separator) and not (
        text.startswith("~") or text in (".", "..")
    )


def _of_name(asked: _Question) -> Found | None:
    hit = look_up(asked.text, asked.kind, without=asked.asked)
    if hit is None:
        return None
    return _of_entry(asked, hit) if isinstance(hit, Entry) else _of_candidate(asked, hit)


def _of_candidate(asked: _Question, hit: Candidate) -> Found:
    locked = None if hit.remote is None else asked.lock.get(hit.remote.shown)
    return asked.answer(
        path=hit.path,
        place=hit.place,
        remote=hit.remote,
        is_remotes=hit.remote is not None,
        locked=locked,
    )


def _of_entry(asked: _Question, entry: Entry) -> Found:
    found = _find(
        replace(
            asked,
            text=entry.weights,
            base=entry.base,
            source=asked.source or entry.source,
            sha256=asked.sha256 or entry.sha256,
            asked=asked.asked | {entry.name},
        )
    )
    missing = found.missing and f"{FILE} calls it '{found.text}': {found.missing}"
    return replace(found, text=asked.text, place=FILE, entry=found.entry or entry, missing=missing)
