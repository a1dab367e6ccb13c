"""Where the file of LAMBADA lies that a study names, and what its content is known by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.config.document import Node
from harness.config.problem import Problem
from harness.errors import SourceError
from harness.sources import Found, Locked, file_sha256, find

_KEY = ("workloads", "quality", "lambada")


def locate_lambada(root: Node, lock: Mapping[str, Locked], problems: list[Problem]) -> Found | None:
    """The file, here or not; None where none is named. Adds what cannot be understood."""
    node = root.get("workloads").get("quality").get("lambada")
    if not node.text:
        return None
    try:
        return find(node.text, base=node.source.path.parent, kind="lambada", lock=lock)
    except SourceError as error:
        problems.append(root.problem(_KEY, str(error)))
        return None


def lambada_content(found: Found) -> str:
    """The sha256 of the file; of one that is not here what its lock says, or else its name."""
    try:
        return file_sha256(found.need())
    except (OSError, SourceError):
        name = Path(found.text).name if found.remote is None else found.remote.shown
        return found.expected_sha256 or name
