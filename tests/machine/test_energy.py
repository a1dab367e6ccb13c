"""Counters of energy: found, read, wrapped around, refused."""

import os

import pytest

from harness.machine import energy
from harness.machine.energy import (
    CPU,
    Meter,
    NvmlCounter,
    RaplCounter,
    moved_j,
    open_meter,
    rapl_counters,
)
from harness.machine.facts import NotKnown
from tests.machine.fake_nvml import NVMLError, no_bindings, nvml

CAP = "sys/class/powercap"
ZONES = {  # zone: name, microjoules, where it begins again
    "intel-rapl:0": ("package-0", 262_143_000_000, 262_143_328_850),
    "intel-rapl:0:0": ("core", 5, 262_143_328_850),
    "intel-rapl:0:1": ("dram", 1_000_000, 65_712_999_613),
    "intel-rapl:1": ("package-1", 7_000_000, 262_143_328_850),
    "intel-rapl:2": ("psys", 9, 262_143_328_850),
    "intel-rapl-mmio:0": ("package-0", 3, 262_143_328_850),
}
NVIDIA = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  x\n"
}


def rapl(zones=ZONES):
    files = {}
    for zone, (name, now, wraps) in zones.items():
        files[f"{CAP}/{zone}/name"] = f"{name}\n"
        files[f"{CAP}/{zone}/energy_uj"] = f"{now}\n"
        files[f"{CAP}/{zone}/max_energy_range_uj"] = f"{wraps}\n"
    return files


class Clock:
    def __init__(self, *times):
        self.times = list(times)

    def __call__(self):
        return self.times.pop(0)


def two_gpus(joules, **changes):
    """NVML with two GPUs, whose counters say `joules` by the GPU's identity."""

    def energy_mj(handle):
        value = joules[handle]
        if isinstance(value, str):
            raise NVMLError(value)
        return value * 1000

    answers = {
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetUUID": lambda handle: handle,
        "nvmlDeviceGetHandleByIndex": lambda number: f"GPU-{number}",
        "nvmlDeviceGetTotalEnergyConsumption": energy_mj,
    }
    return nvml(**answers | changes)


def test_packages_and_their_memory_are_counted_and_nothing_twice(make_root):
    found = rapl_counters(make_root(rapl()), "linux")
    assert [one.name for one in found] == ["package-0", "dram-0", "package-1"]
    assert found[0].joules() == pytest.approx(262_143.0)
    assert found[1].wraps_at_j == pytest.approx(65_712.999613)


def test_without_a_counter_the_reason_is_said(make_root):
    with pytest.raises(NotKnown, match="no energy counter"):
        rapl_counters(make_root({}), "linux")
    with pytest.raises(NotKnown, match="root alone"):
        rapl_counters(make_root(rapl()), "darwin")


def test_where_only_root_may_read_the_way_out_is_said(make_root, monkeypatch):
    root = make_root(rapl())
    monkeypatch.setattr(os, "access", lambda path, _: "energy_uj" not in str(path))
    meter = open_meter((), root, platform="linux")
    assert meter.counters == ()
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:0/energy_uj" in meter.missing[CPU]


@pytest.mark.parametrize(
    ("before", "after", "wraps", "moved"),
    [(1.0, 3.5, 10.0, 2.5), (9.0, 1.5, 10.0, 2.5), (9.0, 1.5, None, None), (2.0, 2.0, 10.0, 0.0)],
)
def test_a_counter_begins_again(before, after, wraps, moved):
    assert moved_j(before, after, wraps) == moved


def test_joules_between_two_readings_are_exact_also_around_the_end(make_root):
    root = make_root(rapl())
    meter = Meter(counters=tuple(rapl_counters(root, "linux")), missing={}, clock=Clock(10.0, 12.0))
    before = meter.read()
    (root / CAP / "intel-rapl:0/energy_uj").write_text("5000000\n", encoding="utf-8")
    (root / CAP / "intel-rapl:0:1/energy_uj").write_text("1750000\n", encoding="utf-8")
    after = meter.read()
    joules, missing = meter.between(before, after)
    assert joules == {"package-0": pytest.approx(5.32885), "dram-0": pytest.approx(0.75)}
    assert missing == {"package-1": "the counter did not move in 2.000 s"}  # never 0
    assert after.at_s - before.at_s == 2.0


def window(counter, seconds, moved):
    """What a meter says of one window."""
    meter = Meter(counters=(counter,), missing={})
    readings = [
        energy.EnergyReading(at_s=at, joules={counter.name: value}, missing={})
        for at, value in ((0.0, 1.0), (seconds, 1.0 + moved))
    ]
    joules, missing = meter.between(*readings)
    return joules.get(counter.name, missing.get(counter.name))


def test_a_window_in_which_it_may_begin_again_twice_has_no_figure(make_root):
    package, dram, _ = rapl_counters(make_root(rapl()), "linux")
    # No package takes 1,000 W and no memory of one 400 W: 262 s and 164 s are safe.
    assert window(package, 262.0, 5.0) == 5.0
    assert "perhaps more than once in 263 s" in window(package, 263.0, 5.0)
    assert window(dram, 164.0, 5.0) == 5.0
    assert "perhaps more than once" in window(dram, 165.0, 5.0)


def test_a_window_that_is_short_for_its_counter_has_no_figure():
    gpu = NvmlCounter(name="cuda:0", nvml=None, handle=None)
    package = RaplCounter(name="package-0", root=None, zone="", wraps_at_j=1000.0)
    assert window(gpu, 0.5, 3.0) == 3.0
    assert "0.490 s is too short" in window(gpu, 0.49, 3.0)
    assert window(package, 0.005, 3.0) == 3.0
    assert "too short" in window(package, 0.004, 3.0)


@pytest.mark.parametrize("name", ["energy_uj", "max_energy_range_uj"])
def test_a_file_that_is_not_understood_is_a_reason(name, make_root):
    root = make_root(rapl() | {f"{CAP}/intel-rapl:1/{name}": "\n"})
    assert name in open_meter((), root, platform="linux").missing[CPU]


def test_a_counter_that_goes_away_gives_the_reason(make_root):
    root = make_root(rapl())
    meter = open_meter((), root, platform="linux")
    before = meter.read()
    (root / CAP / "intel-rapl:0/energy_uj").unlink()
    (root / CAP / "intel-rapl:1/energy_uj").write_text("what\n", encoding="utf-8")
    joules, missing = meter.between(before, meter.read())
    assert joules == {}
    assert set(missing) == {"package-0", "dram-0", "package-1"}
    assert "No such file" in missing["package-0"]


def test_gpus_go_by_the_numbers_of_cuda(make_root):
    meter = open_meter(
        {"cpu", "cuda:0"},
        make_root(rapl() | NVIDIA),
        platform="linux",
        environ={"CUDA_VISIBLE_DEVICES": "1"},
        load=lambda: two_gpus({"GPU-0": 5, "GPU-1": 70}),
    )
    assert meter.read().joules["cuda:0"] == pytest.approx(70.0)
    assert meter.methods["cuda:0"] == "NVML total energy"
    assert meter.methods["package-0"] == "RAPL"
    assert meter.missing == {}


def test_only_gpus_in_use_are_counted(make_root):
    root = make_root(NVIDIA)

    def names(devices):
        load = lambda: two_gpus({"GPU-0": 5, "GPU-1": 70})  # noqa: E731
        meter = open_meter(devices, root, platform="linux", environ={}, load=load)
        return [counter.name for counter in meter.counters]

    assert names({"cpu"}) == []
    assert names({"cuda:1"}) == ["cuda:1"]
    assert names(None) == ["cuda:0", "cuda:1"]


def test_a_gpu_without_the_counter_is_named(make_root):
    meter = open_meter(
        {"cuda:0", "cuda:1"},
        make_root(NVIDIA),
        platform="linux",
        environ={},
        load=lambda: two_gpus({"GPU-0": "Not Supported", "GPU-1": 70}),
    )
    assert [counter.name for counter in meter.counters] == ["cuda:1"]
    assert "no counter" in meter.missing["cuda:0"]


def test_a_gpu_that_the_driver_does_not_find_again_is_named(make_root):
    def lost(number):
        raise NVMLError("Not Found")

    gpus = two_gpus({"GPU-0": 5, "GPU-1": 70}, nvmlDeviceGetHandleByIndex=lost)
    meter = open_meter(
        {"cuda:0"}, make_root(NVIDIA), platform="linux", environ={}, load=lambda: gpus
    )
    assert meter.counters == ()
    assert "no counter" in meter.missing["cuda:0"]


def test_without_bindings_the_extra_is_named(make_root):
    meter = open_meter({"cuda:0"}, make_root({}), platform="linux", environ={}, load=no_bindings)
    assert meter.missing["cuda:0"] == "no NVIDIA driver is loaded"
    root = make_root(NVIDIA | {"proc/driver/nvidia/gpus/0/information": "Model: T4\n"})
    meter = open_meter({"cuda:0"}, root, platform="linux", environ={}, load=no_bindings)
    assert "extra: cuda" in meter.missing["cuda:0"]


def test_probes_that_are_off_read_nothing(make_root, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    meter = open_meter(None, make_root(rapl()), platform="linux")
    assert meter.counters == ()
    assert "switched off" in meter.missing[CPU]
