"""The facts that are kept of a machine: names and groups, and how one that is missing looks.

A fact is a plain JSON value, or `{"unavailable": why}`. Host and user names are never among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Facts = dict[str, Any]


class About(NamedTuple):
    """What a fact is."""

    group: str
    what: str


# Every fact, in its group. Units are in the names.
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "Processor": {
        "cpu_model": "name of the processor",
        "cpu_cores": "physical cores of the machine",
        "cpu_threads": "hardware threads of the machine",
        "cpu_allowed": "hardware threads that this process may run on",
        "cpu_flags": "instruction sets that decide how fast matrices multiply",
        "cpu_caches_bytes": "size of one cache of each level",
        "cpu_max_mhz": "highest clock",
        "cpu_governor": "policy that sets the clock",
        "cpu_turbo": "whether clocks above the nominal one are allowed",
        "cpu_microcode": "revision of the processor's microcode",
        "numa_nodes": "memory nodes",
        "cgroup_cpus": "limit of CPU time that a container sets, in CPUs",
    },
    "Memory": {
        "ram_bytes": "memory of the machine",
        "swap_bytes": "swap space",
        "huge_pages": "when memory is backed by huge pages",
        "cgroup_memory_bytes": "limit of memory that a container sets",
    },
    "System": {
        "os": "operating system",
        "kernel": "release of the kernel",
        "virtualisation": "whether this is a virtual machine",
    },
    "GPU": {
        "gpus": "NVIDIA GPUs of the machine",
        "gpu_driver": "release of the NVIDIA driver",
        "gpu_cuda": "newest CUDA that the driver supports",
    },
    "Provenance": {
        "provenance": "where Python and its packages come from: nix, venv, conda or system",
        "nix_interpreter": "store path of the interpreter's environment",
        "nix_package": "store path of the harness",
        "nixpkgs_rev": "revision of nixpkgs",
        "nixpkgs_nar_hash": "hash of the content of nixpkgs",
        "flake_lock_sha256": "hash of flake.lock",
        "constraints": "file that fixed the versions of the virtual environment",
        "constraints_sha256": "hash of that file when the environment was made",
        "distributions": "installed distributions and their versions",
        "distributions_sha256": "hash of all their names and versions",
        "distributions_outside": "distributions found outside the closure or the environment",
    },
    "Software": {
        "arch": "architecture that Python was built for",
        "libc": "C library",
        "python": "implementation and version of Python",
        "harness": "version of the harness",
        "torch": "version of PyTorch",
        "torch_cuda": "CUDA that PyTorch was built with",
        "numpy": "version of NumPy",
        "tokenizers": "version of tokenizers",
        "safetensors": "version of safetensors",
        "env": "environment variables that change what is computed, or how fast",
        "git_revision": "commit of the harness",
        "git_dirty": "whether tracked files differ from that commit",
    },
}
FACTS: Mapping[str, About] = {
    name: About(group, what) for group, facts in _GROUPS.items() for name, what in facts.items()
}
GROUPS = tuple(_GROUPS)  # in the order in which they are shown


class NotKnown(Exception):
    """A fact cannot be known here; the message says why."""


def unavailable(reason: str) -> dict[str, str]:
    """What stands in place of a fact."""
    return {"unavailable": reason}


def text(facts: Facts, name: str) -> str | None:
    """A fact that is a text, or None where it is unavailable."""
    value = facts.get(name)
    return str(value) if isinstance(value, str) else None


def number(facts: Facts, name: str) -> int | None:
    """A fact that is a whole number, or None where it is unavailable."""
    value = facts.get(name)
    return int(value) if isinstance(value, int) else None


def collect(probes: Mapping[str, Callable[[], Any]]) -> Facts:
    """Ask each probe for its fact; one that fails leaves the reason, and the rest goes on."""
    return {name: _ask(probe) for name, probe in probes.items()}


def read(root: Path, path: str) -> str:
    """The text of `path` under `root`, stripped; raises `NotKnown` where it cannot be read."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError as error:
        raise NotKnown(f"/{path}: {error.strerror or type(error).__name__}") from error


def _ask(probe: Callable[[], Any]) -> Any:
    try:
        return probe()
    except NotKnown as error:
        return unavailable(str(error))
    except (OSError, LookupError, ValueError) as error:
        # A kernel, or a platform, that writes something we have not seen.
        return unavailable(f"not understood ({type(error).__name__})")
