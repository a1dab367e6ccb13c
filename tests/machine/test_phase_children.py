"""Children of a phase: where the worker's own peak is not told, and where there is no /proc."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from harness.machine import memory_children, memory_phases
from harness.machine.memory_children import Reaped, reaped
from harness.machine.memory_phases import begin_host_phase, host_phase_memory

MIB = 2**20


def test_where_the_own_peak_is_not_told_a_child_that_ended_is_not_guessed(make_root, monkeypatch):
    # Without it nobody knows with what Linux began to count the child.
    counted = iter([Reaped(max_bytes=0, work=(1,)), Reaped(max_bytes=300 * MIB, work=(2,))])
    monkeypatch.setattr(memory_phases, "reaped", lambda _: next(counted))
    root = make_root({"proc/self/status": "Name:\tpython\n"})
    found = host_phase_memory(begin_host_phase(root, "linux"))
    for name in ("own_peak_rss_bytes", "children_peak_rss_bytes", "peak_rss_bytes"):
        assert found[name].missing == "the kernel does not say VmHWM"


@pytest.mark.parametrize("platform", ["darwin", "freebsd"])
def test_without_proc_children_that_live_count_as_they_are_now(platform):
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()  # it has begun
        found = host_phase_memory(begin_host_phase(platform=platform))
        now = psutil.Process(child.pid).memory_info().rss
    children = found["children_peak_rss_bytes"]
    assert children.bytes == pytest.approx(now, rel=0.2)
    assert "1 living, as they are now" in children.method
    assert found["peak_rss_bytes"].bytes == found["own_peak_rss_bytes"].bytes + children.bytes


def test_without_proc_an_error_of_psutil_is_the_reason(monkeypatch):
    def gone(*_):
        raise psutil.NoSuchProcess(os.getpid())

    monkeypatch.setattr(psutil, "Process", gone)
    found = host_phase_memory(begin_host_phase(platform="darwin"))
    assert found["children_peak_rss_bytes"].missing.startswith("psutil: ")
    assert found["own_peak_rss_bytes"].bytes > 0


@pytest.mark.parametrize("counter", ["ru_minflt", "ru_utime", "ru_stime", "ru_nvcsw", "ru_nivcsw"])
def test_every_counter_of_work_tells_that_a_child_ran(counter, monkeypatch):
    names = ("ru_maxrss", "ru_minflt", "ru_utime", "ru_stime", "ru_nvcsw", "ru_nivcsw")
    used = SimpleNamespace(**dict.fromkeys(names, 7))
    monkeypatch.setattr(memory_children.resource, "getrusage", lambda _: used)
    before = reaped("linux")
    assert before.max_bytes == 7 * 1024
    setattr(used, counter, 8)
    assert reaped("linux").work != before.work
