"""NVIDIA GPUs: through NVML where its bindings are installed, else what the driver leaves in /proc.

`cuda_devices` keeps those that this process may use, in CUDA's numbering.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine.facts import Facts, NotKnown, read, unavailable
from harness.machine.machine import Accelerator
from harness.machine.nvidia_facts import gpu_facts
from harness.machine.nvml import (
    DRIVER,
    Load,
    cuda_numbers,
    has_driver,
    load_nvml,
    opened_nvml,
    text_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU of the machine, whether or not this process may use it."""

    name: str
    uuid: str
    memory_bytes: int | None = None
    usable: bool = True  # its device file is there: a container may hide it
    facts: Facts  # what else is known, for the record


@dataclass(frozen=True, kw_only=True, slots=True)
class Nvidia:
    """What is known of the machine's NVIDIA GPUs."""

    gpus: tuple[Gpu, ...]
    facts: Facts


def probe_nvidia(root: Path, load: Load = load_nvml) -> Nvidia:
    """Look for GPUs; `load` gives the NVML bindings."""
    try:
        with opened_nvml(root, load) as nvml:
            return _from_nvml(nvml)
    except NotKnown as why:
        return _from_proc(root, str(why)) if has_driver(root) else _without(str(why))


def cuda_devices(gpus: Sequence[Gpu], visible: str | None) -> tuple[Accelerator, ...]:
    """The GPUs that CUDA shows to a process whose CUDA_VISIBLE_DEVICES is `visible`."""
    usable = [gpu for gpu in gpus if gpu.usable]
    chosen = [usable[at] for at in cuda_numbers([gpu.uuid for gpu in usable], visible)]
    return tuple(
        Accelerator(device=f"cuda:{i}", name=gpu.name, memory_bytes=gpu.memory_bytes)
        for i, gpu in enumerate(chosen)
    )


def parse_driver_version(text: str) -> str:
    """The release in /proc/driver/nvidia/version, such as 535.104.05."""
    match = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text, re.MULTILINE)
    if match is None:
        raise NotKnown(f"/{DRIVER}/version is not understood")
    return match[1]


def parse_gpu_information(text: str) -> dict[str, str]:
    """The lines `Model: …`, `GPU UUID: …` of a GPU's `information` file."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _without(reason: str) -> Nvidia:
    names = ("gpus", "gpu_driver", "gpu_cuda")
    return Nvidia(gpus=(), facts={name: unavailable(reason) for name in names})


def _from_proc(root: Path, why_not_nvml: str) -> Nvidia:
    gpus = []
    for path in sorted((root / DRIVER / "gpus").glob("*/information")):
        info = parse_gpu_information(read(root, str(path.relative_to(root))))
        name = info.get("Model", "unknown NVIDIA GPU")
        minor = info.get("Device Minor")
        gpus.append(
            Gpu(
                name=name,
                uuid=info.get("GPU UUID", ""),
                usable=minor is None or (root / f"dev/nvidia{minor}").exists(),
                facts={
                    "name": name,
                    "vbios": info.get("Video BIOS") or unavailable("the driver does not say"),
                    "details": unavailable(why_not_nvml),
                },
            )
        )
    try:
        driver: Any = parse_driver_version(read(root, f"{DRIVER}/version"))
    except NotKnown as error:
        driver = unavailable(str(error))
    listed = [gpu.facts for gpu in gpus]
    return Nvidia(
        gpus=tuple(gpus),
        facts={
            "gpus": listed or unavailable(why_not_nvml),
            "gpu_driver": driver,
            "gpu_cuda": unavailable(why_not_nvml),
        },
    )


def _from_nvml(nvml: Any) -> Nvidia:
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    gpus = tuple(_gpu_from_nvml(nvml, handle) for handle in handles)
    cuda = nvml.nvmlSystemGetCudaDriverVersion()
    return Nvidia(
        gpus=gpus,
        facts={
            "gpus": [gpu.facts for gpu in gpus],
            "gpu_driver": text_of(nvml.nvmlSystemGetDriverVersion()),
            "gpu_cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
        },
    )


def _gpu_from_nvml(nvml: Any, handle: Any) -> Gpu:
    facts = gpu_facts(nvml, handle)
    return Gpu(
        name=facts["name"],
        uuid=text_of(nvml.nvmlDeviceGetUUID(handle)),
        memory_bytes=facts["memory_bytes"],
        facts=facts,
    )
