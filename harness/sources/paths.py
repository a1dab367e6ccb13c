"""Paths as people write them: relative to a file or folder, with `~`, with `..`."""

from __future__ import annotations

from pathlib import Path


def joined(base: Path, written: str) -> Path:
    """The path that `written` names, seen from the folder `base`."""
    try:
        path = Path(written).expanduser() if written.startswith("~") else Path(written)
    except RuntimeError:  # nobody has that name: then it is a file called so
        path = Path(written)
    return _tidied(base / path)


def is_file(path: Path) -> bool:
    """Whether a file is seen there; what cannot be looked at is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def real(path: Path) -> Path:
    """Where symbolic links lead; the path itself where they lead nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: a circle of links
        return path


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, in order; nothing where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError):
        return []


def _tidied(path: Path) -> Path:
    """Without `..` where that names the same folder, which a symbolic link can prevent."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] not in ("..", path.anchor):
            parts.pop()
        else:
            parts.append(part)
    tidy = Path(*parts)
    return tidy if real(tidy.parent) == real(path.parent) else path
