"""What disturbs a Mac, from recorded output of its programs."""

from types import SimpleNamespace

import psutil
import pytest

from harness.machine.facts import NotKnown
from harness.machine.quiet import Probes
from harness.machine.quiet.cpu_time import CpuTimes
from harness.machine.quiet.darwin import (
    DarwinBattery,
    DarwinCpuTime,
    DarwinSwap,
    DarwinThrottling,
    parse_on_battery,
    parse_speed_limit,
    parse_vm_stat,
    read_cpu_times,
    run_program,
)
from harness.machine.quiet.probes import ALL_FIGURES

QUIET = "Note: No thermal warning level has been recorded\n"


def test_swapped_pages_in_bytes(recorded):
    text = recorded("vm_stat")
    assert parse_vm_stat(text) == (200 * 16384, 1000 * 16384)
    source = DarwinSwap(lambda _: text)
    later = text.replace("200.", "210.")
    readings = [source.read(1), DarwinSwap(lambda _: later).read(1)]
    assert source.tell(readings, 1.0) == {"swap_in_bytes": 163840, "swap_out_bytes": 0}


def test_a_speed_limit_is_throttling(recorded):
    assert parse_speed_limit(recorded("pmset-therm")) == 71
    assert parse_speed_limit(QUIET) == 100
    source = DarwinThrottling(lambda _: QUIET)
    assert source.tell([source.read(1), 71], 1.0) == {"throttle_events": 1}


def test_the_battery(recorded):
    assert parse_on_battery(recorded("pmset-batt"))
    assert not parse_on_battery("Now drawing from 'AC Power'\n")
    source = DarwinBattery(lambda _: recorded("pmset-batt"))
    assert source.tell([source.read(1)] * 2, 1.0) == {"battery_share": 1.0}


@pytest.mark.parametrize("parse", [parse_vm_stat, parse_speed_limit, parse_on_battery])
def test_what_is_not_understood_is_not_known(parse):
    with pytest.raises(NotKnown):
        parse("zsh: command not found")


def test_a_program_that_is_not_there_is_not_known(tmp_path):
    with pytest.raises(NotKnown, match="cannot be run"):
        run_program([str(tmp_path / "pmset")])


def test_times_of_all_and_of_ours_by_psutil(monkeypatch):
    """Busy counts what runs at low priority; ours are this process, the worker and its children."""
    used = {0: 1.0, 50: 10.0, 51: 100.0}

    class Process:
        def __init__(self, pid=0):
            self.pid = pid

        def children(self, *, recursive):
            return [Process(51)] if recursive and self.pid == 50 else []

        def cpu_times(self):
            return SimpleNamespace(user=used[self.pid], system=0.5)

    monkeypatch.setattr(psutil, "Process", Process)
    times = SimpleNamespace(user=1000.0, nice=200.0, system=30.0, idle=4.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)
    assert read_cpu_times(50) == CpuTimes(busy_s=1230.0, stolen_s=0.0, own_s=111.0 + 1.5)


def test_what_others_use():
    times = iter(
        [CpuTimes(busy_s=10, stolen_s=0, own_s=1), CpuTimes(busy_s=16, stolen_s=0, own_s=4)]
    )
    source = DarwinCpuTime(lambda _: next(times))
    readings = [source.read(1), source.read(1)]
    assert source.tell(readings, 2.0) == {"other_cpu_cores": pytest.approx(1.5)}
    with pytest.raises(NotKnown, match="too short"):
        source.tell(readings, 0.1)


@pytest.mark.parametrize("platform", ["linux", "darwin", "plan9"])
@pytest.mark.parametrize("gpus", [None, ("cuda:0",), ()])
def test_every_figure_has_one_source_on_every_system(platform, gpus, tmp_path):
    sources = Probes(tmp_path, platform=platform).sources(gpus=gpus)
    assert sorted(name for one in sources for name in one.figures) == sorted(ALL_FIGURES)


def test_what_macos_lacks_has_a_reason(tmp_path):
    sources = Probes(tmp_path, platform="darwin").sources(gpus=())
    lacking = next(one for one in sources if "cpu_stall_share" in one.figures)
    with pytest.raises(NotKnown, match="macOS does not say"):
        lacking.read(1)
