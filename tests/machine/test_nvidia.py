import json

import pytest
from fake_nvml import NVMLError, no_bindings, nvml

from harness.machine.declared import FACTS
from harness.machine.facts import NotKnown
from harness.machine.nvidia import (
    Gpu,
    cuda_devices,
    parse_driver_version,
    probe_nvidia,
)


def test_nvml_tells_everything(server):
    found = probe_nvidia(server, nvml)
    assert [(gpu.name, gpu.memory_bytes) for gpu in found.gpus] == [
        ("NVIDIA H100 80GB HBM3", 85520809984)
    ]
    assert found.facts["gpu_driver"] == "535.104.05"
    assert found.facts["gpu_cuda"] == "12.2"
    (gpu,) = found.facts["gpus"]
    assert gpu["power_limit_w"] == 700.0
    assert gpu["compute_capability"] == "9.0"
    assert (gpu["max_sm_mhz"], gpu["max_memory_mhz"]) == (1980, 2619)
    assert gpu["mig"] == {"unavailable": "Not Supported"}
    assert (gpu["vbios"], gpu["compute_mode"]) == ("96.00.74.00.01", "one at once")
    assert (gpu["default_sm_mhz"], gpu["application_sm_mhz"]) == (1590, 1980)
    assert (gpu["pcie_generation"], gpu["pcie_width"], gpu["pcie_width_now"]) == (5, 16, 8)
    assert (gpu["persistence"], gpu["ecc"]) == (True, True)
    assert set(gpu) | {"details"} == set(FACTS["gpus"].members)


def test_what_would_tell_one_host_from_all_others_is_left_out(server):
    facts = probe_nvidia(server, nvml).facts
    assert "GPU-6b1c" not in json.dumps(facts)
    assert "GPU-6b1c" not in json.dumps(probe_nvidia(server, no_bindings).facts)


def test_bindings_that_are_too_old_for_a_question_leave_a_reason(server):
    old = nvml()
    del old.nvmlDeviceGetMaxPcieLinkWidth
    (gpu,) = probe_nvidia(server, lambda: old).facts["gpus"]
    assert gpu["pcie_width"] == {"unavailable": "these NVML bindings cannot ask for it"}
    assert gpu["pcie_generation"] == 5


def test_the_driver_tells_the_name_without_the_bindings(server):
    found = probe_nvidia(server, no_bindings)
    (gpu,) = found.gpus
    assert (gpu.name, gpu.memory_bytes) == ("NVIDIA H100 80GB HBM3", None)
    assert found.facts["gpu_driver"] == "535.104.05"
    assert found.facts["gpus"][0]["vbios"] == "96.00.74.00.01"
    assert "extra: cuda" in found.facts["gpu_cuda"]["unavailable"]


def test_a_gpu_that_a_container_hides_is_not_usable(server):
    (server / "dev/nvidia0").unlink()
    found = probe_nvidia(server, no_bindings)
    assert [gpu.usable for gpu in found.gpus] == [False]
    assert cuda_devices(found.gpus, None) == ()


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_nvml_that_fails_leaves_what_the_driver_tells(server, broken):
    def fail(*_):
        raise NVMLError("Driver/library version mismatch")

    found = probe_nvidia(server, lambda: nvml(**{broken: fail}))
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA H100 80GB HBM3"]
    assert found.facts["gpu_cuda"]["unavailable"] == "NVML: Driver/library version mismatch"


def test_the_bindings_are_not_imported_without_a_driver(tmp_path):
    def load():
        pytest.fail("imported")

    found = probe_nvidia(tmp_path, load)
    assert found.gpus == ()
    assert found.facts["gpus"] == {"unavailable": "no NVIDIA driver is loaded"}


@pytest.mark.parametrize(
    "name, version", [("nvidia-version", "535.104.05"), ("nvidia-version-open", "555.42.02")]
)
def test_driver_version(recorded, name, version):
    assert parse_driver_version(recorded(name)) == version


def test_driver_version_of_something_else():
    with pytest.raises(NotKnown):
        parse_driver_version("nouveau 1.2")


@pytest.mark.parametrize(
    "visible, names",
    [
        (None, ["a", "b", "c"]),
        ("", []),
        ("-1", []),
        ("1", ["b"]),
        ("2,0", ["c", "a"]),
        ("0,9,1", ["a"]),  # CUDA stops at the first that is none
        ("GPU-22", ["b"]),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices(visible, names):
    gpus = [Gpu(name=name, uuid=f"GPU-{i}{i}", facts={}) for i, name in enumerate("abc", start=1)]
    devices = cuda_devices(gpus, visible)
    assert [device.name for device in devices] == names
    assert [device.device for device in devices] == [f"cuda:{i}" for i in range(len(names))]
