"""Where the software comes from: a Nix closure, a virtual environment, conda, or the system.

Names what would have to be had again to run the same: store paths, the lock of the flake and the
revision of nixpkgs, or the constraints of a virtual environment, and all distributions in any case.
Believes what it is told only as far as it can see it. Of paths, only those below the Nix store are
facts: they are content.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import harness
from harness.machine.distributions import (
    Distribution,
    distributions_sha256,
    find_distributions,
)
from harness.machine.facts import Facts, NotKnown, collect, unavailable

# Names the file in which the flake says what it is made from; set by its programs and shells.
CLOSURE_VARIABLE = "RWKV_HARNESS_CLOSURE"
STAMP = ".ready"  # in a virtual environment that scripts/make-venv made: "SHA256  constraints.txt"
HARNESS = "rwkv-harness"  # our own distribution

_STORE = Path("/nix/store")
_PACKAGE = Path(harness.__file__).parent
_NOT_NIX = "not from the Nix store"
_DAMAGED = f"the file that {CLOSURE_VARIABLE} names is damaged"
_CLOSURE_BYTES = 2**16  # no such file is longer
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLOSURE_VALUES = {
    "nixpkgs_rev": re.compile(r"[0-9a-f]{40}"),
    "nixpkgs_nar_hash": re.compile(r"sha256-[A-Za-z0-9+/]{43}="),
    "flake_lock_sha256": _SHA256,
}
_CLOSURE_NULLS = {
    "nixpkgs_rev": "nixpkgs was overridden by a path or an overlay, which has no revision",
    "nixpkgs_nar_hash": "nixpkgs was overridden by an overlay, whose hash is not known",
    "flake_lock_sha256": "the flake has no lock file",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """A Python, as far as its provenance shows."""

    executable: Path
    prefix: Path
    base_prefix: Path
    path: tuple[str, ...]  # where it looks for packages


def running() -> Interpreter:
    """This interpreter; without the current directory, which the worker does not import from."""
    path = list(sys.path)
    if path and path[0] in ("", _current_directory()):
        del path[0]
    return Interpreter(
        executable=Path(sys.executable or ""),  # None where another program embeds Python
        prefix=Path(sys.prefix),
        base_prefix=Path(sys.base_prefix),
        path=tuple(path),
    )


def provenance_facts(
    environ: Mapping[str, str] = os.environ,
    *,
    interpreter: Interpreter | None = None,
    package: Path = _PACKAGE,
    store: Path = _STORE,
) -> Facts:
    """All facts of the group "Provenance"; raises nothing, what is not known has a reason.

    `package` is the folder of this package. `store` is the Nix store, unless a file of the flake
    that can be believed names another.
    """
    here = interpreter or running()
    try:
        store, closure = read_closure(environ.get(CLOSURE_VARIABLE, ""), here.executable)
    except NotKnown as error:
        closure = dict.fromkeys(_CLOSURE_VALUES, unavailable(str(error)))
    kind = provenance(here, store)
    found = find_distributions(here.path)
    versions = {name: one.version for name, one in found.items()}
    # Whether and where it is installed or not, this is the one that runs.
    versions = dict(sorted({**versions, HARNESS: harness.__version__}.items()))

    def only_nix(probe: Callable[[], Any]) -> Any:
        if kind != "nix":
            raise NotKnown(_NOT_NIX)
        return probe()

    return collect(
        {
            "provenance": lambda: kind,
            "nix_interpreter": partial(only_nix, lambda: store_path(here.executable, store)),
            "nix_package": partial(only_nix, lambda: _package(package, store)),
            **{name: partial(only_nix, partial(closure.get, name)) for name in closure},
            "constraints": lambda: _constraints(kind, here)[1],
            "constraints_sha256": lambda: _constraints(kind, here)[0],
            "distributions": lambda: versions,
            "distributions_sha256": lambda: distributions_sha256(versions),
            "distributions_outside": lambda: _outside(kind, here, store, found),
        }
    )


def provenance(here: Interpreter, store: Path) -> str:
    """`nix`, `venv`, `conda` or `system`.

    A virtual environment that was made with a Nix Python is a virtual environment.
    """
    # nixpkgs gives an environment of the store a prefix of its own, as a virtual environment has.
    if _in_store(here.prefix, store) and _in_store(here.executable, store):
        return "nix"
    if here.prefix != here.base_prefix:
        return "venv"
    return "conda" if (here.prefix / "conda-meta").is_dir() else "system"


def store_path(path: Path, store: Path) -> str:
    """The store path that `path` lies in, by its name or, if not, by what it links to.

    Raises `NotKnown` where it lies in none.
    """
    roots = dict.fromkeys((os.path.abspath(store), os.path.realpath(store)))  # noqa: PTH100
    for one in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100
        for root in roots:
            match = re.match(rf"({re.escape(root)}/[a-z0-9]{{32}}-[^/]+)(/|$)", one)
            if match is not None:
                return match[1]
    raise NotKnown(_NOT_NIX)


def read_closure(named: str, executable: Path) -> tuple[Path, Facts]:
    """The store, and what the flake is made from, by the file that it `named`.

    A value that the file has as null is unavailable. Believes the file only where it lies in the
    store that it names, and the interpreter too; raises `NotKnown` where it does not, where there
    is none, or where it is damaged.
    """
    if not named:
        raise NotKnown("not started by the flake")
    file = Path(named)
    try:
        if not file.is_file():
            raise NotKnown(f"{CLOSURE_VARIABLE} names no file")
        with file.open("rb") as opened:
            said = json.loads(opened.read(_CLOSURE_BYTES))
    except OSError as error:
        raise NotKnown(f"the file that {CLOSURE_VARIABLE} names cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise NotKnown(_DAMAGED) from error
    if not isinstance(said, dict) or not str(said.get("store")).startswith("/"):
        raise NotKnown(_DAMAGED)
    store = Path(said["store"])
    if not _in_store(file, store):
        raise NotKnown(f"the file that {CLOSURE_VARIABLE} names is not in the store that it names")
    if not _in_store(executable, store):
        raise NotKnown(f"Python is not from the store that {CLOSURE_VARIABLE} tells of")
    return store, {name: _closure_value(said, name) for name in _CLOSURE_VALUES}


def read_stamp(text: str) -> tuple[str, str]:
    """Hash and name of the constraints file in a virtual environment's stamp."""
    if not text.strip():
        raise NotKnown("the virtual environment was made before its constraints were kept")
    match = re.fullmatch(r"([0-9a-f]{64})  (\S[^\n]*)", text.strip())
    if match is None:
        raise NotKnown(f"{STAMP} of the virtual environment is not understood")
    return match[1], Path(match[2]).name


def _closure_value(said: Mapping[str, Any], name: str) -> Any:
    value = said.get(name)
    if value is None:
        return unavailable(_CLOSURE_NULLS[name])
    if not isinstance(value, str) or not _CLOSURE_VALUES[name].fullmatch(value):
        raise NotKnown(_DAMAGED)
    return value


def _package(package: Path, store: Path) -> str:
    if not _in_store(package, store):
        raise NotKnown("the harness runs from a checkout")
    # An environment of the store links to its packages.
    return store_path(package.resolve() if _in_store(package.resolve(), store) else package, store)


def _constraints(kind: str, here: Interpreter) -> tuple[str, str]:
    if kind != "venv":
        raise NotKnown("not a virtual environment")
    stamp = here.prefix / STAMP
    if not stamp.is_file():
        raise NotKnown("the virtual environment was not made by scripts/make-venv")
    return read_stamp(stamp.read_text(encoding="utf-8"))


def _outside(
    kind: str, here: Interpreter, store: Path, found: Mapping[str, Distribution]
) -> list[str]:
    """Distributions that are found elsewhere than in the closure or the environment."""
    if kind == "system":
        raise NotKnown("the system's Python is no environment of its own")
    root = os.path.realpath(here.prefix)

    def is_inside(folder: Path) -> bool:
        if kind == "nix":
            return _in_store(folder, store)
        return Path(os.path.realpath(folder)).is_relative_to(root)

    folders = {one.folder: is_inside(one.folder) for one in found.values()}
    # A checkout of ours, on the path or as an editable install, is what is meant to run.
    return [name for name, one in found.items() if not folders[one.folder] and name != HARNESS]


def _in_store(path: Path, store: Path) -> bool:
    try:
        store_path(path, store)
    except NotKnown:
        return False
    return True


def _current_directory() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return None
