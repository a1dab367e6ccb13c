"""Which weights are there: in folders, in the hub's cache, among the downloads, in models.yaml.

Reads the header of each file, and no weight. Does not know which tokenizer goes with what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from harness.errors import CheckpointError, SourceError
from harness.quickstart import files
from harness.runtime.checkpoint import Header, read_header
from harness.sources.finding import Found, find
from harness.sources.paths import is_file, real
from harness.sources.places import HUB_CACHE, in_downloads, in_folders, in_hub_cache
from harness.sources.settings import FILE, read_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Weights that are there, or that are said to be."""

    name: str  # by which `find` finds them
    place: str  # shipped, models.yaml, $HARNESS_MODELS, ./models, hub cache, downloads
    found: Found | None  # None where the name leads nowhere
    size: int | None = None  # bytes
    header: Header | None = None
    problem: str | None = None  # why there is no header

    @property
    def dtype(self) -> str | None:
        """The number format of most of the weights."""
        if self.header is None:
            return None
        spans: Counter[str] = Counter()
        for info in self.header.tensors.values():
            spans[info.dtype] += info.span_bytes
        return spans.most_common(1)[0][0]

    @property
    def is_converted(self) -> bool:
        """Whether the file holds tensors as a strategy stores them."""
        return self.header is not None and self.header.converted is not None


def inventory() -> tuple[tuple[Stored, ...], int]:
    """All weights in all places, in the order in which names are looked up; each file once.

    Then how many files of the hub's cache look like weights and are none of RWKV-4: those of other
    models, which are not listed.
    """
    everything = tuple(_everything())
    listed = tuple(one for one in everything if one.place != HUB_CACHE or one.problem is None)
    return listed, len(everything) - len(listed)


def _everything() -> Iterator[Stored]:
    seen: set[Path] = set()
    if is_file(files.WEIGHTS):
        yield _stored(files.BUILTIN, find(files.BUILTIN))
    yield from _named()
    for one in chain(in_folders("weights"), in_hub_cache("weights"), in_downloads("weights")):
        if real(one.path) in seen:
            continue
        seen.add(real(one.path))
        found = Found(text=one.path.stem, path=one.path, place=one.place, remote=one.remote)
        yield _stored(found.text, found)


def _named() -> Iterator[Stored]:
    for name, entry in read_settings().items():
        try:
            found = find(entry.weights, base=entry.base, source=entry.source)
            found = replace(found, entry=entry)
        except SourceError as error:
            yield Stored(name=name, place=FILE, found=None, problem=str(error))
            continue
        if found.path is None:
            why = found.random or f"{found.text}: {found.missing}"
            yield Stored(name=name, place=FILE, found=found, problem=why)
        else:
            yield _stored(name, found, FILE)


def _stored(name: str, found: Found, place: str | None = None) -> Stored:
    path = found.need()
    header, problem = None, None
    try:
        header = read_header(path)
    except CheckpointError as error:
        problem = str(error).removeprefix(f"{path}: ")
    try:
        size = path.stat().st_size
    except OSError:
        size = None
    return Stored(
        name=name,
        place=place or found.place,
        found=found,
        size=size,
        header=header,
        problem=problem,
    )
