"""NVML's bindings, as far as the probe uses them."""

from types import SimpleNamespace


class NVMLError(Exception):
    pass


def no_bindings():
    raise ImportError


def nvml(**changes):
    """NVML as on a machine with one H100 whose MIG mode cannot be asked for."""

    def not_supported(*_):
        raise NVMLError("Not Supported")

    answers = {
        "NVMLError": NVMLError,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetName": lambda _: b"NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetUUID": lambda _: "GPU-6b1c",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=85520809984),
        "nvmlDeviceGetCudaComputeCapability": lambda _: (9, 0),
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700000,
        "nvmlDeviceGetMaxClockInfo": lambda _, clock: {1: 1980, 2: 2619}[clock],
        "nvmlDeviceGetVbiosVersion": lambda _: "96.00.74.00.01",
        "nvmlDeviceGetPowerManagementDefaultLimit": lambda _: 700000,
        "nvmlDeviceGetDefaultApplicationsClock": lambda _, clock: {1: 1590, 2: 2619}[clock],
        "nvmlDeviceGetApplicationsClock": lambda _, clock: {1: 1980, 2: 2619}[clock],
        "nvmlDeviceGetComputeMode": lambda _: 3,
        "nvmlDeviceGetMaxPcieLinkGeneration": lambda _: 5,
        "nvmlDeviceGetMaxPcieLinkWidth": lambda _: 16,
        "nvmlDeviceGetCurrPcieLinkWidth": lambda _: 8,
        "nvmlDeviceGetPersistenceMode": lambda _: 1,
        "nvmlDeviceGetCurrentEccMode": lambda _: 1,
        "nvmlDeviceGetMigMode": not_supported,
        "nvmlSystemGetDriverVersion": lambda: "535.104.05",
        "nvmlSystemGetCudaDriverVersion": lambda: 12020,
    }
    return SimpleNamespace(**answers | changes)
