"""The types of a machine: what `probe_machine` returns.

Knows nothing of how a fact is found out.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.machine.facts import Facts


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """A device other than the CPU that this process may use."""

    device: str  # as a strategy writes it: "cuda:0", "mps"
    name: str
    memory_bytes: int | None = None  # None: NVML, which knows it, is not there


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine as this process sees it."""

    label: str  # folder name under results/: slug of CPU and GPU plus 6 hex digits
    accelerators: tuple[Accelerator, ...]
    cores: int | None  # physical cores
    ram_bytes: int | None  # that this process can have: the RAM, or the cgroup's limit if lower
    facts: Facts  # every name of `facts.FACTS`; a plain JSON value, or {"unavailable": why}
