"""The folders in which weights and tokenizers are looked for, and what lies in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from harness.folders import cache_folder
from harness.sources.hub_cache import cached_files, hub_cache
from harness.sources.paths import entries, is_file
from harness.sources.reference import Remote, UrlFile

Kind: TypeAlias = Literal["weights", "tokenizer", "lambada"]
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "weights": (".pth", ".safetensors"),
    "tokenizer": (".json", ".txt"),
    "lambada": (".jsonl",),
}
VARIABLE = "HARNESS_MODELS"
OWN_FOLDER = "models"
HUB_CACHE = "hub cache"
DOWNLOADS = "downloads"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One file that lies in one of the places."""

    path: Path
    place: str  # $HARNESS_MODELS, ./models, hub cache, downloads
    remote: Remote | None = None  # where it is from, if the place knows


def model_folders() -> tuple[tuple[str, Path], ...]:
    """The folders that are searched by name, in order, with what they are called."""
    named = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return (
        *((f"${VARIABLE}", Path(part).expanduser()) for part in named),
        (f"./{OWN_FOLDER}", Path(OWN_FOLDER)),
    )


def downloads_folder() -> Path:
    """Where files of servers other than a hub are kept, each in a folder of its own."""
    return cache_folder() / DOWNLOADS


def download_path(remote: UrlFile) -> Path:
    """Where a download from there is kept unless another path is named."""
    return downloads_folder() / remote.key / remote.name


def in_folders(kind: Kind) -> Iterator[Candidate]:
    """The files of a kind in the folders, in order, and in the folders directly below them."""
    for place, folder in model_folders():
        for path in entries(folder):
            below = [path] if is_file(path) else entries(path)
            for file in below:
                if _fits(file, kind) and is_file(file):
                    yield Candidate(path=file, place=place)


def in_hub_cache(kind: Kind) -> Iterator[Candidate]:
    """The files of a kind in the hub's cache."""
    for remote, path in cached_files(SUFFIXES[kind]):
        yield Candidate(path=path, place=HUB_CACHE, remote=remote)


def in_downloads(kind: Kind) -> Iterator[Candidate]:
    """The files of a kind that came from other servers."""
    for folder in entries(downloads_folder()):
        for path in entries(folder):
            if _fits(path, kind) and is_file(path):
                yield Candidate(path=path, place=DOWNLOADS)


def where_looked(kind: Kind) -> str:
    """The places by name, for a message that nothing was found."""
    variable = f"${VARIABLE}" if os.environ.get(VARIABLE) else f"${VARIABLE} (not set)"
    places = [variable, "models.yaml", f"./{OWN_FOLDER}", DOWNLOADS]
    if kind == "lambada":
        places.remove("models.yaml")
    if kind == "weights":
        places.insert(3, f"the {HUB_CACHE} ({hub_cache()})")
    return ", ".join(places)


def _fits(path: Path, kind: Kind) -> bool:
    return path.suffix in SUFFIXES[kind] and not path.name.startswith(".")
