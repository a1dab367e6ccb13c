"""What NVML says of one GPU, as the facts of a record; its unique identifier is not among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.machine.facts import Facts, unavailable
from harness.machine.nvml import text_of

_COMPUTE_MODES = {0: "any number", 1: "one, of one thread", 2: "none", 3: "one"}


def gpu_facts(nvml: Any, handle: Any) -> Facts:
    """The facts that `declared.py` lists for each GPU; those that it does not tell have reasons.

    Raises the bindings' `NVMLError` where name or memory cannot be asked for.
    """
    sm, memory = nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_MEM
    asked: Mapping[str, Callable[[], Any]] = {
        "compute_capability": lambda: "{}.{}".format(
            *nvml.nvmlDeviceGetCudaComputeCapability(handle)
        ),
        "vbios": lambda: text_of(nvml.nvmlDeviceGetVbiosVersion(handle)),
        "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
        "default_power_limit_w": lambda: (
            nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000
        ),
        "default_sm_mhz": lambda: nvml.nvmlDeviceGetDefaultApplicationsClock(handle, sm),
        "default_memory_mhz": lambda: nvml.nvmlDeviceGetDefaultApplicationsClock(handle, memory),
        "application_sm_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(handle, sm),
        "application_memory_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(handle, memory),
        "max_sm_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, sm),
        "max_memory_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, memory),
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "compute_mode": lambda: _compute_mode(nvml.nvmlDeviceGetComputeMode(handle)),
        "ecc": lambda: bool(nvml.nvmlDeviceGetCurrentEccMode(handle)),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
        # Of the generation only the highest: what is in use falls while the GPU is idle.
        "pcie_generation": lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),
        "pcie_width": lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
        "pcie_width_now": lambda: nvml.nvmlDeviceGetCurrPcieLinkWidth(handle),
    }
    return {
        "name": text_of(nvml.nvmlDeviceGetName(handle)),
        "memory_bytes": int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        **{name: _ask(nvml, question) for name, question in asked.items()},
    }


def _ask(nvml: Any, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except nvml.NVMLError as error:  # "Not Supported" on many a consumer GPU
        return unavailable(str(error))
    except AttributeError:
        return unavailable("these NVML bindings cannot ask for it")


def _compute_mode(mode: int) -> str:
    """How many programs may use the GPU at once."""
    return f"{_COMPUTE_MODES.get(mode, f'mode {mode}')} at once"
