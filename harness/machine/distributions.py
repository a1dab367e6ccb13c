"""The distributions that Python would import from: names, versions, and in which folder each lies.

Reads names of folders where they say enough, and opens a metadata file only where they do not: this
is done for every trial. Knows nothing of virtual environments and stores.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple


class Distribution(NamedTuple):
    """One installed distribution."""

    name: str  # normalised: lower case, words joined by single dashes
    version: str
    folder: Path  # the entry of the search path


def find_distributions(path: Iterable[str]) -> dict[str, Distribution]:
    """All distributions in the folders of a search path, by name and sorted.

    The first of a name wins, as it does when it is imported. A folder that cannot be read holds
    none.
    """
    found: dict[str, Distribution] = {}
    for folder in dict.fromkeys(path):
        for one in _in_folder(Path(folder)):
            found.setdefault(one.name, one)
    return dict(sorted(found.items()))


def distributions_sha256(versions: Mapping[str, str]) -> str:
    """One value to compare two environments by: the hash of the names and versions as JSON."""
    canonical = json.dumps(dict(versions), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def normalised(name: str) -> str:
    """`Ruamel.Yaml_clib` -> `ruamel-yaml-clib`, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_metadata(text: str) -> tuple[str, str] | None:
    """Name and version in the headers of a METADATA or PKG-INFO file; None where one is missing."""
    headers = text.partition("\n\n")[0]
    found = dict(re.findall(r"^(Name|Version):[ \t]*(\S+)[ \t]*$", headers, re.MULTILINE))
    return (found["Name"], found["Version"]) if len(found) == 2 else None


def parse_folder_name(name: str) -> tuple[str, str] | None:
    """Name and version in `numpy-1.24.2.dist-info` or `PyYAML-6.0-py3.10.egg-info`.

    None where the name does not say both, or not exactly.
    """
    stem = re.sub(r"-py\d+\.\d+(-.*)?$", "", name.rpartition(".")[0])
    project, _, version = stem.rpartition("-")
    # A dash of a version is written as an underscore there.
    if not project or not version[:1].isdigit() or "_" in version:
        return None
    return project, version


def _in_folder(folder: Path) -> Iterator[Distribution]:
    try:
        # Not the order of the disk: two of a name in one folder are left by a broken upgrade.
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return  # a zip file, a hook of an importer, or nothing at all
    for name in names:
        metadata = _metadata_file(folder, name)
        # What pip was removing when it was stopped begins with a tilde.
        if metadata is None or name.startswith("~") or not metadata.is_file():
            continue
        said = parse_folder_name(name) or _read_metadata(metadata)
        if said is not None:
            yield Distribution(normalised(said[0]), said[1], folder)


def _metadata_file(folder: Path, name: str) -> Path | None:
    if name.endswith(".dist-info"):
        return folder / name / "METADATA"
    if name.endswith(".egg-info"):
        one = folder / name
        return one / "PKG-INFO" if one.is_dir() else one
    if name == "EGG-INFO" and folder.suffix == ".egg":
        return folder / name / "PKG-INFO"
    return None


def _read_metadata(file: Path) -> tuple[str, str] | None:
    try:
        return parse_metadata(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
