"""How warm the machine is: recorded trees of /sys, NVML's words, macOS' pmset."""

import pytest

from harness.machine.heat import HeatProbe
from tests.machine.fake_nvml import NVMLError, no_bindings, nvml


def put(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="ascii")


@pytest.fixture
def laptop(tmp_path):
    """A machine whose processor tells its heat, and one of whose two clocks is held back."""
    put(
        tmp_path,
        sys__class__hwmon__hwmon0__name="nvme",
        sys__class__hwmon__hwmon0__temp1_input=90000,
        sys__class__hwmon__hwmon1__name="coretemp",
        sys__class__hwmon__hwmon1__temp1_input=61000,
        sys__class__hwmon__hwmon1__temp2_input=63500,
        sys__devices__system__cpu__cpufreq__policy0__scaling_max_freq=3600000,
        sys__devices__system__cpu__cpufreq__policy0__cpuinfo_max_freq=3600000,
        sys__devices__system__cpu__cpufreq__policy1__scaling_max_freq=1800000,
        sys__devices__system__cpu__cpufreq__policy1__cpuinfo_max_freq=3600000,
    )
    return tmp_path


def with_gpus(root):
    put(root, proc__driver__nvidia__version="NVRM version: 535")
    return root


def test_the_hottest_sensor_of_the_processor_and_the_tightest_limit(laptop):
    reading = HeatProbe(laptop, platform="linux").read()
    assert reading.celsius == {"cpu": 63.5}
    assert reading.cpu_clock_limit_percent == 50.0
    assert set(reading.method) == {"cpu", "cpu_clock_limit_percent"}
    assert reading.missing == {}


def test_a_machine_that_tells_nothing_says_why(tmp_path):
    reading = HeatProbe(tmp_path, platform="linux", devices=None, load=no_bindings).read()
    assert reading.celsius == {}
    assert reading.cpu_clock_limit_percent is None
    assert "no sensor" in reading.missing["cpu"]
    assert "no clock limit" in reading.missing["cpu_clock_limit_percent"]
    assert reading.missing["gpu"] == "no NVIDIA driver is loaded"


def test_gpus_by_their_numbers_of_cuda(laptop):
    bindings = nvml(
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetTemperature=lambda handle, _: {0: 41, 1: 77, 2: 50}[handle],
    )

    def read(devices, **environ):
        root = with_gpus(laptop)
        probe = HeatProbe(
            root, devices=devices, platform="linux", environ=environ, load=lambda: bindings
        )
        return probe.read()

    assert read(None).celsius == {"cpu": 63.5, "cuda:0": 41.0, "cuda:1": 77.0, "cuda:2": 50.0}
    assert read({"cuda:1"}).celsius == {"cpu": 63.5, "cuda:1": 77.0}
    assert read({"cuda:1"}).method["cuda:1"] == "NVML"
    assert read({"cuda:1"}, CUDA_VISIBLE_DEVICES="2,0").celsius["cuda:1"] == 41.0
    assert read({"cuda:5"}).missing == {"gpu": "NVML does not know cuda:5"}


def test_gpus_that_do_not_tell_leave_the_processor(laptop):
    def refused(*_):
        raise NVMLError("Not Supported")

    bindings = nvml(NVML_TEMPERATURE_GPU=0, nvmlDeviceGetTemperature=refused)
    root = with_gpus(laptop)
    reading = HeatProbe(root, platform="linux", devices=None, load=lambda: bindings).read()
    assert (reading.celsius, reading.missing) == ({"cpu": 63.5}, {"gpu": "NVML: Not Supported"})
    without = HeatProbe(root, platform="linux", devices=None, load=no_bindings).read()
    assert "extra: cuda" in without.missing["gpu"]


def test_gpus_are_asked_only_where_a_trial_uses_one(laptop):
    reading = HeatProbe(with_gpus(laptop), platform="linux", load=no_bindings).read()
    assert "gpu" not in reading.missing


def test_macos_tells_the_clock_limit_only(tmp_path):
    def run(command):
        assert command == ["/usr/bin/pmset", "-g", "therm"]
        return "2024-05-01 10:00:00 +0000 CPU Power notify\n\tCPU_Speed_Limit \t= 80\n"

    reading = HeatProbe(tmp_path, platform="darwin", run=run).read()
    assert reading.celsius == {}
    assert reading.cpu_clock_limit_percent == 80.0
    assert "root" in reading.missing["cpu"]


def test_files_that_are_not_understood_are_missing(laptop):
    put(laptop, sys__devices__system__cpu__cpufreq__policy1__scaling_max_freq="?")
    reading = HeatProbe(laptop, platform="linux").read()
    assert reading.cpu_clock_limit_percent is None
    assert "not understood" in reading.missing["cpu_clock_limit_percent"]


def test_switched_off(laptop, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    reading = HeatProbe(laptop, platform="linux").read()
    assert (reading.celsius, reading.cpu_clock_limit_percent) == ({}, None)
    assert "switched off" in reading.missing["cpu"]
