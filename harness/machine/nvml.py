"""NVML, NVIDIA's library of measuring: the one way in which it is opened, and CUDA's numbering.

Starts no program and no CUDA context. Where no driver is loaded its bindings are not even imported.
Knows no figure: what is asked of it is for others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.machine.facts import NotKnown

DRIVER = "proc/driver/nvidia"
_WSL = "dev/dxg"  # the GPU inside WSL, which has no /proc/driver/nvidia

Load = Callable[[], Any]


def load_nvml() -> Any:
    """The NVML bindings; raises ImportError where the `cuda` extra is not installed."""
    return importlib.import_module("pynvml")


def has_driver(root: Path) -> bool:
    """Whether an NVIDIA driver is loaded."""
    return (root / DRIVER).exists() or (root / _WSL).exists()


def open_nvml(root: Path = Path("/"), load: Load = load_nvml) -> Any:
    """NVML, to be closed or left open; raises `NotKnown` with the reason where it cannot be had.

    Who asks again and again leaves it open: a GPU without persistence would restart its driver.
    """
    if not has_driver(root):
        raise NotKnown("no NVIDIA driver is loaded")
    try:
        nvml = load()
    except ImportError as error:
        raise NotKnown("NVML's bindings are not installed (extra: cuda)") from error
    with told(nvml):
        nvml.nvmlInit()
    return nvml


@contextmanager
def told(nvml: Any) -> Iterator[None]:
    """What NVML refuses is `NotKnown`."""
    try:
        yield
    except nvml.NVMLError as error:
        raise NotKnown(f"NVML: {error}") from error


@contextmanager
def opened_nvml(root: Path = Path("/"), load: Load = load_nvml) -> Iterator[Any]:
    """NVML for a few questions; closed at the end. Raises `NotKnown`, also for what it refuses."""
    nvml = open_nvml(root, load)
    try:
        with told(nvml):
            yield nvml
    finally:
        nvml.nvmlShutdown()


class Nvml:
    """NVML that is opened at the first question, once, and left open."""

    def __init__(self, root: Path = Path("/"), load: Load = load_nvml) -> None:
        self._root, self._load = root, load
        self._nvml: Any = None
        self._why_not: str | None = None

    def get(self) -> Any:
        """The bindings; raises `NotKnown` with the same reason each time."""
        if self._nvml is None and self._why_not is None:
            try:
                self._nvml = open_nvml(self._root, self._load)
            except NotKnown as error:
                self._why_not = str(error)
        if self._why_not is not None:
            raise NotKnown(self._why_not)
        return self._nvml


def cuda_numbers(uuids: Sequence[str], visible: str | None) -> list[int]:
    """Which of the GPUs with these identifiers CUDA shows as 0, 1, …, by their place here.

    `visible` is CUDA_VISIBLE_DEVICES. As CUDA does, the list ends at the first entry that is no
    GPU. Numbers follow the PCI bus, as CUDA's do with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if visible is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdecimal():
            found = [int(entry)] if int(entry) < len(uuids) else []
        else:
            found = [at for at, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if not found:
            break
        chosen.append(found[0])
    return chosen


def cuda_gpus(nvml: Any, visible: str | None) -> dict[str, int]:
    """`cuda:0` … -> NVML's number. Raises the bindings' `NVMLError`."""
    count = nvml.nvmlDeviceGetCount()
    if visible is None:
        return {f"cuda:{at}": at for at in range(count)}
    handles = map(nvml.nvmlDeviceGetHandleByIndex, range(count))
    uuids = [text_of(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    return {f"cuda:{at}": number for at, number in enumerate(cuda_numbers(uuids, visible))}


def of_devices(found: dict[str, int], devices: Collection[str] | None) -> dict[str, int]:
    """Those of `cuda_gpus` that are used; None: all. Raises `NotKnown` where one is not there."""
    if devices is None:
        return found
    lacking = sorted(set(devices) - found.keys())
    if lacking:
        raise NotKnown(f"NVML does not know {', '.join(lacking)}")
    return {name: number for name, number in found.items() if name in devices}


def text_of(value: str | bytes) -> str:
    """Bindings before version 11.510 return bytes."""
    return value.decode() if isinstance(value, bytes) else value
