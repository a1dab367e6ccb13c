"""Figures of one phase, from files as a kernel writes them, and from a real child."""

import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fake_nvml
import pytest

from harness.machine import memory_phases
from harness.machine.footprint import footprint_bytes
from harness.machine.memory import MemoryReading, peak_rss_bytes, restart_peak_rss
from harness.machine.memory_children import (
    Reaped,
    descendants,
    ended_child,
    living_children,
    parse_parent,
    peak_rss_of,
    reaped,
)
from harness.machine.memory_nvidia import nvidia_memory
from harness.machine.memory_phases import (
    NAMES,
    begin_host_phase,
    host_phase_memory,
    parse_pss,
)

KIB, MIB = 2**10, 2**20
NOBODY = 65534
LAZY = "VmHWM:\t {} kB\nVmRSS:\t {} kB\n"


def process(parent, peak_kib, pss_kib=0, state="S (sleeping)"):
    return {
        "stat": f"1 (a (b) c) {state[0]} {parent} 1 1 0 -1",
        "status": f"Name:\ta\nState:\t{state}\n{LAZY.format(peak_kib, peak_kib)}",
        "smaps_rollup": f"0-1 [rollup]\nRss: 1 kB\nPss:   {pss_kib} kB\nPss_Dirty: 9 kB\n",
    }


@pytest.fixture
def machine_of(make_root, recorded):
    """A machine on which this process has the recorded status, and these others run."""

    def make(processes):
        files = {"proc/self/status": recorded("status"), "proc/self/clear_refs": ""}
        files["proc/self/smaps_rollup"] = recorded("smaps_rollup")
        for pid, about in processes.items():
            files |= {f"proc/{pid}/{name}": text for name, text in about.items()}
        return make_root(files)

    return make


def test_pss_is_read_from_its_own_line(recorded):
    assert parse_pss(recorded("smaps_rollup")) == 941730 * KIB


def test_a_name_with_brackets_hides_no_parent():
    assert parse_parent("7 (tmux: server (x)) S 4242 7 7 0") == 4242


def test_descendants_are_those_below_at_any_depth(machine_of):
    root = machine_of(
        {1: process(0, 5), 10: process(7, 5), 11: process(10, 5), 12: process(1, 5), 7: {}}
    )
    assert descendants(root, 7) == [10, 11]
    assert descendants(root / "nowhere", 7) == []


def test_a_phase_adds_living_children_to_its_own_peak(machine_of):
    me = os.getpid()
    root = machine_of({901: process(me, 2048, 1024), 902: process(901, 4096, 512)})
    found = host_phase_memory(begin_host_phase(root, "linux"))
    assert tuple(found) == NAMES
    assert found["own_peak_rss_bytes"].bytes == 1523440 * KIB
    assert found["children_peak_rss_bytes"].bytes == 6144 * KIB
    assert found["peak_rss_bytes"].bytes == (1523440 + 6144) * KIB
    assert found["pss_bytes"].bytes == (941730 + 1536) * KIB
    assert "2 living" in found["peak_rss_bytes"].method
    assert "set back before" in found["own_peak_rss_bytes"].method
    assert (root / "proc/self/clear_refs").read_text() == "5"


def test_without_children_there_are_none_and_that_is_said(machine_of):
    found = host_phase_memory(begin_host_phase(machine_of({}), "linux"))
    assert found["children_peak_rss_bytes"].bytes == 0
    assert found["peak_rss_bytes"] == MemoryReading(
        bytes=1523440 * KIB, method="VmHWM, set back before the phase; no children"
    )


def test_the_mark_is_set_back_also_by_who_may_write_and_not_read(machine_of, monkeypatch):
    """The file has mode 0200, which stops all but root from reading it."""
    monkeypatch.chdir(machine_of({}))  # what lies above may be closed to others
    mark = Path("proc/self/clear_refs")
    for folder in mark.parents:
        folder.chmod(0o755)
    mark.chmod(0o200)
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(mark, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError):
            mark.read_bytes()
        assert restart_peak_rss(Path(), "linux")
    finally:
        if is_root:
            os.seteuid(0)
    mark.chmod(0o600)
    assert mark.read_bytes() == b"5"


def test_where_the_mark_cannot_be_set_back_the_figure_says_so(machine_of):
    root = machine_of({})
    (root / "proc/self/clear_refs").unlink()
    found = host_phase_memory(begin_host_phase(root, "linux"))
    assert "since the program began" in found["own_peak_rss_bytes"].method
    assert not (root / "proc/self/clear_refs").exists()


def test_what_is_set_back_is_not_forgotten(machine_of):
    root = machine_of({})
    status = root / "proc/self/status"
    assert restart_peak_rss(root, "linux")
    status.write_text(LAZY.format(100, 100))
    assert restart_peak_rss(root, "linux")
    assert peak_rss_bytes(root, "linux").bytes == 1523440 * KIB
    status.write_text(LAZY.format(2000000, 100))
    assert peak_rss_bytes(root, "linux").bytes == 2000000 * KIB


def test_a_child_that_waits_to_be_waited_for_says_nothing(machine_of):
    root = machine_of({901: {**process(1, 1), "status": "State:\tZ (zombie)\n"}})
    assert peak_rss_of(901, root).bytes is None
    assert "ended" in peak_rss_of(901, root).missing
    assert living_children(lambda pid: peak_rss_of(pid, root), [901]).bytes is None


def test_a_child_that_is_gone_holds_nothing(machine_of):
    assert peak_rss_of(901, machine_of({})).bytes == 0


@pytest.mark.parametrize(
    ("before", "after", "own", "expected"),
    [
        (Reaped(max_bytes=5, work=(1,)), Reaped(max_bytes=5, work=(1,)), 9 * MIB, 0),
        (Reaped(max_bytes=0, work=(1,)), Reaped(max_bytes=300 * MIB, work=(2,)), 60 * MIB, 300),
        (Reaped(max_bytes=0, work=(1,)), Reaped(max_bytes=300 * MIB, work=(2,)), None, 300),
        (Reaped(max_bytes=0, work=(1,)), Reaped(max_bytes=401 * MIB, work=(2,)), 400 * MIB, None),
        (Reaped(max_bytes=0, work=(1,)), Reaped(max_bytes=61 * MIB, work=(2,)), 60 * MIB, None),
        (
            *(Reaped(max_bytes=300 * MIB, work=(1,)), Reaped(max_bytes=300 * MIB, work=(2,))),
            *(60 * MIB, None),
        ),
    ],
    ids=[
        "none ended",
        "larger than us",
        "counted alone",
        "as large as us",
        "and when we are small",
        "an earlier was larger",
    ],
)
def test_the_largest_child_that_ended(before, after, own, expected):
    found = ended_child(before, after, own)
    assert found.bytes == (None if expected is None else expected * MIB)
    assert (found.missing is None) == (expected is not None)


def test_a_real_child_raises_what_is_counted():
    before = reaped()
    subprocess.run([sys.executable, "-S", "-c", "0"], check=True)
    after = reaped()
    assert after.work != before.work
    assert after.max_bytes > 2 * MIB


def test_macos_has_a_footprint_and_no_pss():
    answer = bytes(16) + struct.pack("<8Q", *range(7), 123456789) + bytes(300)
    assert footprint_bytes("darwin", lambda _: answer).bytes == 123456789
    found = host_phase_memory(begin_host_phase(platform="darwin"))
    assert found["pss_bytes"].missing == "darwin does not tell shared pages apart"
    assert "ru_maxrss" in found["own_peak_rss_bytes"].method
    if sys.platform != "darwin":
        assert found["footprint_bytes"].missing.startswith("libproc")


def test_elsewhere_there_is_no_footprint():
    assert footprint_bytes("linux").missing == "a figure of macOS"


def test_with_the_probes_off_every_figure_is_missing(monkeypatch, machine_of):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    root = machine_of({})
    found = host_phase_memory(begin_host_phase(root, "linux"))
    assert {one.missing for one in found.values()} == {
        "probes are switched off by RWKV_HARNESS_PROBES"
    }
    assert (root / "proc/self/clear_refs").read_text() == ""  # nothing is touched either
    asked = nvidia_memory(["cuda:0"], load=lambda: pytest.fail("asked"))
    assert asked["cuda:0"]["process_bytes"].bytes is None


def running(*processes):
    return lambda _: [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]


def two_gpus(**changes):
    answers = {
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetUUID": lambda i: f"GPU-{i}",
        "nvmlDeviceGetMemoryInfo": lambda i: SimpleNamespace(used=(i + 1) * 1000),
        "nvmlDeviceGetComputeRunningProcesses": running((7, 300), (8, 40)),
    }
    return fake_nvml.nvml(**answers | changes)


@pytest.fixture
def with_driver(make_root):
    """Asks for the memory of GPUs where a driver is loaded."""
    root = make_root({"proc/driver/nvidia/version": "NVRM version: 535"})
    return partial(nvidia_memory, root=root, environ={}, pid=7)


@pytest.fixture
def nvidia(with_driver):
    def ask(nvml, devices=("cuda:0",), visible=None):
        environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        found = with_driver(devices, load=lambda: nvml, environ=environ)
        return {
            device: {name: one.bytes for name, one in figures.items()}
            for device, figures in found.items()
        }

    return ask


def test_the_driver_knows_the_process_and_the_whole_device(nvidia):
    assert nvidia(two_gpus()) == {"cuda:0": {"process_bytes": 300, "device_used_bytes": 1000}}


def test_a_process_that_is_listed_twice_holds_both(nvidia):
    twice = two_gpus(nvmlDeviceGetComputeRunningProcesses=running((7, 300), (8, 9), (7, 40)))
    assert nvidia(twice)["cuda:0"]["process_bytes"] == 340


def test_devices_are_counted_as_cuda_does(nvidia):
    assert nvidia(two_gpus(), ["cuda"], visible="GPU-1")["cuda"]["device_used_bytes"] == 2000
    assert nvidia(two_gpus(), ["cuda:1"], visible="1")["cuda:1"]["device_used_bytes"] is None


@pytest.mark.parametrize(
    ("processes", "reason"),
    [
        ([(8, 40)], "container"),
        ([(7, None)], "not what it holds"),
        ([(7, 2**64 - 1)], "not what it holds"),
    ],
)
def test_a_process_that_the_driver_does_not_tell_has_a_reason(processes, reason, with_driver):
    nvml = two_gpus(nvmlDeviceGetComputeRunningProcesses=running(*processes))
    [figures] = with_driver(["cuda:0"], load=lambda: nvml).values()
    assert figures["process_bytes"].bytes is None
    assert reason in figures["process_bytes"].missing
    assert figures["device_used_bytes"].bytes == 1000


def refuse(*_):
    raise fake_nvml.NVMLError("Not Supported")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (fake_nvml.no_bindings, "not installed"),
        (lambda: two_gpus(nvmlInit=refuse), "Not Supported"),
        (lambda: two_gpus(nvmlDeviceGetCount=refuse), "Not Supported"),
        (lambda: two_gpus(nvmlDeviceGetMemoryInfo=refuse), "Not Supported"),
    ],
)
def test_without_nvml_there_is_a_reason(load, reason, with_driver):
    [figures] = with_driver(["cuda:0"], load=load).values()
    assert figures["device_used_bytes"].bytes is None
    assert reason in figures["device_used_bytes"].missing


def test_where_no_driver_is_loaded_the_bindings_are_not_asked_for(tmp_path):
    asked = nvidia_memory(["cuda:0"], root=tmp_path, load=lambda: pytest.fail("asked"))
    assert asked["cuda:0"]["process_bytes"].missing == "no NVIDIA driver is loaded"


def test_without_a_device_nobody_is_asked():
    assert nvidia_memory([], load=lambda: pytest.fail("asked")) == {}


@pytest.mark.parametrize("had_children", [False, True])
def test_a_child_inherits_of_this_phase_unless_it_is_older(had_children, machine_of, monkeypatch):
    older = {901: process(os.getpid(), 1)} if had_children else {}
    root = machine_of(older)
    counted = iter([Reaped(max_bytes=0, work=(1,)), Reaped(max_bytes=300 * MIB, work=(2,))])
    monkeypatch.setattr(memory_phases, "reaped", lambda _: next(counted))
    phase = begin_host_phase(root, "linux")  # until now the peak was 1523440 kB
    (root / "proc/self/status").write_text(LAZY.format(100 * KIB, 100 * KIB))
    found = host_phase_memory(phase)["children_peak_rss_bytes"]
    assert (found.bytes is None) == had_children
    assert had_children or found.bytes == 300 * MIB
