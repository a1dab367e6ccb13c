"""Puts a `Machine` together: the probe of this operating system, NVIDIA's, those of the software.

The only module that knows which operating systems there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.machine.compilers import Compilers
from harness.machine.darwin import darwin_facts
from harness.machine.declared import ENGINE_FACTS, MACHINE_FACTS
from harness.machine.facts import Facts, collect, number, text, unavailable
from harness.machine.label import machine_label
from harness.machine.linux import linux_facts
from harness.machine.machine import Accelerator, Machine
from harness.machine.nvidia import cuda_devices, probe_nvidia
from harness.machine.nvml import Load, load_nvml
from harness.machine.provenance import provenance_facts
from harness.machine.software import software_facts
from harness.machine.switch import VARIABLE, probes_are_off

# One probe per operating system: facts of the hardware and the system under a root.
_SYSTEMS: Mapping[str, Callable[[Path], Facts]] = {"linux": linux_facts, "darwin": darwin_facts}
# Why a fact that the others have is not known.
_NOT_HERE = {"linux": "Linux does not have it", "darwin": "macOS does not have it"}


def probe_machine(
    root: Path = Path("/"),
    *,
    platform: str = sys.platform,
    environ: Mapping[str, str] = os.environ,
    load: Load = load_nvml,
) -> Machine:
    """Look at the machine. Never raises: what is not known is unavailable, with the reason.

    Takes well under 100 ms and does not import torch. The arguments are for tests: a recorded file
    system, another operating system, an environment, and other NVML bindings than the installed.
    """
    if probes_are_off():
        return Machine(
            label="unknown",
            accelerators=(),
            cores=None,
            ram_bytes=None,
            facts=_complete({}, f"probes are switched off by {VARIABLE}"),
        )
    compilers = Compilers(environ, platform)
    system = _SYSTEMS.get(platform, _no_facts)(root)
    nvidia = probe_nvidia(root, load)
    facts = _complete(
        {
            **system,
            **nvidia.facts,
            **provenance_facts(environ),
            **software_facts(environ),
            **collect({"compilers": compilers.releases}),
        },
        _NOT_HERE.get(platform, f"no probe for {platform}"),
    )
    accelerators = cuda_devices(nvidia.gpus, environ.get("CUDA_VISIBLE_DEVICES"))
    accelerators += _mps(platform, facts)
    facts["devices"] = ["cpu", *(one.device for one in accelerators)]
    return Machine(
        label=machine_label(facts, [gpu.name for gpu in nvidia.gpus]),
        accelerators=accelerators,
        cores=number(facts, "cpu_cores"),
        ram_bytes=_usable_ram(facts),
        facts=facts,
    )


def engine_facts(said: Facts, engine: str, *, why_silent: str | None = None) -> Facts:
    """Every fact of the group "Engine", and what else the engine said.

    One that it did not say is unavailable, as `why_silent` explains or because it never says it.
    """
    if probes_are_off():
        why_silent = f"probes are switched off by {VARIABLE}"
    silent = unavailable(why_silent or f"the {engine} engine does not say")
    return {**dict.fromkeys(ENGINE_FACTS, silent), **said}


def _complete(facts: Facts, reason: str) -> Facts:
    return {name: facts.get(name, unavailable(reason)) for name in MACHINE_FACTS}


def _no_facts(_root: Path) -> Facts:
    return {}


def _mps(platform: str, facts: Facts) -> tuple[Accelerator, ...]:
    """The GPU of an Apple processor, which shares the RAM; not for a Python under Rosetta."""
    if platform != "darwin" or facts["arch"] != "arm64":
        return ()
    name = text(facts, "cpu_model") or "Apple GPU"
    return (Accelerator(device="mps", name=name, memory_bytes=number(facts, "ram_bytes")),)


def _usable_ram(facts: Facts) -> int | None:
    limits = [number(facts, name) for name in ("ram_bytes", "cgroup_memory_bytes")]
    return min((limit for limit in limits if limit is not None), default=None)
