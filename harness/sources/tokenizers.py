"""Find a tokenizer that nobody named, by what it is called where it is published.

Looks beside the weights, where models are, in what is installed, in the hub's cache and among the
downloads. Does not know which tokenizer a model wants, and opens no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.sources.finding import Found, find
from harness.sources.hub_cache import cached_files
from harness.sources.lock import Locked
from harness.sources.paths import is_file
from harness.sources.places import DOWNLOADS, HUB_CACHE, in_downloads, in_folders


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A tokenizer as it is published."""

    names: tuple[str, ...]  # of its file, the usual one first
    url: str | None  # or hf://…
    sha256s: tuple[str, ...] = ()  # of its content; several where line ends differ


def find_tokenizer(
    published: Published,
    weights: Path,
    installed: Path | None = None,
    lock: Mapping[str, Locked] | None = None,
) -> Found:
    """The first file of one of these names; without one, from where it can be had."""
    source = None if published.url is None else find(published.url, kind="tokenizer", lock=lock)
    remote = None if source is None else source.remote
    for place, path in _places(published.names, weights, installed):
        if source is not None and source.path == path:
            return source
        if is_file(path):
            return Found(text=path.name, kind="tokenizer", path=path, place=place)
    if source is None or remote is None:
        missing = f"no file {' or '.join(published.names)} beside the weights or where models are"
        return Found(text=published.names[0], kind="tokenizer", missing=missing)
    # One content is known: whatever else came in its place would be wrong.
    sure = published.sha256s[0] if len(published.sha256s) == 1 else None
    return replace(source, sha256=sure)


def _places(
    names: tuple[str, ...], weights: Path, installed: Path | None
) -> Iterator[tuple[str, Path]]:
    for name in names:
        yield "beside the weights", weights.parent / name
    for one in in_folders("tokenizer"):
        if one.path.name in names:
            yield one.place, one.path
    if installed is not None:
        yield "installed", installed
    for _remote, path in cached_files(names):
        if path.name in names:
            yield HUB_CACHE, path
    for one in in_downloads("tokenizer"):
        if one.path.name in names:
            yield DOWNLOADS, one.path
