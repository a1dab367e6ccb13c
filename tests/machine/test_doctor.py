"""What the doctor says of settings and of what goes on, from facts and figures that are made up."""

import os
from types import SimpleNamespace

import pytest

from harness.machine.doctor import Examined, examine
from harness.machine.doctor.finding import SEVERITIES
from harness.machine.doctor.moment import Busy, Moment, Used, busiest, cpu_seconds
from harness.machine.quiet import Seen

MISSING = {"unavailable": "nothing there"}
QUIET_FACTS = {
    "cpu_governor": "performance",
    "cpu_driver": "acpi-cpufreq",
    "cpu_turbo": False,
    "cpu_smt": False,
    "cpu_allowed": 8,
    "cpu_threads": 8,
    "power_profile": "performance",
    "cpu_energy_preference": MISSING,
    "swap_bytes": 0,
    "huge_pages": "madvise",
    "numa_nodes": 1,
    "numa_balancing": False,
    "cgroup_cpus": MISSING,
    "env": {},
    "nice": 0,
    "clock_source": "tsc",
    "virtualisation": "none",
    "gpus": MISSING,
}
QUIET_FIGURES = {
    "other_cpu_cores": 0.02,
    "steal_share": 0.0,
    "swap_in_bytes": 0,
    "memory_stall_share": 0.0,
    "io_stall_share": 0.0,
    "throttle_events": 0,
    "battery_share": 0.0,
}
GPU = {"name": "H100", "persistence": True, "max_sm_mhz": 1980}


def look(facts=None, figures=None, busy=(), platform="linux", missing=None) -> Examined:
    """Examine a machine that is quiet but for what is given."""
    seen = Seen(
        seconds=2.0,
        samples=2,
        figures={**QUIET_FIGURES, **(figures or {})},
        missing=missing or {},
    )
    return examine(
        {**QUIET_FACTS, **(facts or {})},
        Moment(seen=seen, busy=busy, cpus=8, platform=platform),
    )


def test_a_quiet_machine_has_no_findings():
    found = look()
    assert found.findings == ()
    assert {"governor", "other processes", "battery"} <= set(found.fine)
    assert set(found.not_told.values()) == {"nothing there"}  # there is no GPU


@pytest.mark.parametrize(
    ("facts", "name", "severity", "mend"),
    [
        ({"cpu_governor": "schedutil"}, "governor", "medium", "cpupower frequency-set -g perf"),
        ({"cpu_governor": "powersave"}, "governor", "high", "cpupower"),
        (
            {"cpu_governor": "powersave", "cpu_driver": "intel_pstate"},
            *("governor", "medium", "cpupower"),
        ),
        ({"cpu_turbo": True}, "turbo", "low", "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq"),
        ({"cpu_turbo": True, "cpu_driver": "intel_pstate"}, "turbo", "low", "intel_pstate/no_tur"),
        ({"cpu_smt": True}, "SMT", "low", "smt/control"),
        ({"power_profile": "low-power"}, "power profile", "medium", "powerprofilesctl"),
        ({"cpu_energy_preference": "balance_power"}, "power profile", "medium", "performance"),
        ({"swap_bytes": 2**31}, "swap space", "low", "swapoff"),
        ({"huge_pages": "always"}, "huge pages", "low", "echo madvise"),
        ({"numa_nodes": 2}, "NUMA", "medium", "numactl --cpunodebind=0"),
        ({"cgroup_cpus": 2.5}, "CPU limit", "medium", "threads: 2"),
        ({"cpu_allowed": 4}, "threads", "low", "taskset"),
        ({"env": {"OMP_PROC_BIND": "close"}}, "threads", "low", "unset OMP_PROC_BIND"),
        ({"nice": 10}, "priority", "medium", "renice"),
        ({"clock_source": "hpet"}, "clock source", "low", "available_clocksource"),
        ({"virtualisation": "virtual machine (KVM)"}, "virtual machine", "medium", "more trials"),
        ({"gpus": [{**GPU, "persistence": False}]}, "GPU persistence", "low", "nvidia-smi -pm 1"),
    ],
)
def test_each_setting_that_disturbs_has_a_finding(facts, name, severity, mend):
    findings = {one.name: one for one in look(facts).findings}
    found = findings.pop(name)
    assert found.severity == severity
    assert mend in found.mend
    assert found.effect
    assert set(findings) <= {"GPU clocks"}  # and nothing else is found


@pytest.mark.parametrize(
    ("figures", "name", "severity"),
    [
        ({"other_cpu_cores": 0.2}, "other processes", "low"),
        ({"other_cpu_cores": 0.5}, "other processes", "medium"),
        ({"other_cpu_cores": 4.5}, "other processes", "high"),
        ({"steal_share": 0.02}, "stolen time", "medium"),
        ({"steal_share": 0.2}, "stolen time", "high"),
        ({"swap_in_bytes": 2**20}, "swapping", "high"),
        ({"memory_stall_share": 0.02}, "memory pressure", "medium"),
        ({"io_stall_share": 0.2}, "disk pressure", "medium"),
        ({"throttle_events": 1}, "throttling", "high"),
        ({"battery_share": 1.0}, "battery", "high"),
        ({"gpu_throttle_share": 0.5}, "GPU throttling", "high"),
        ({"foreign_gpu_processes": 2}, "other processes on the GPU", "high"),
    ],
)
def test_each_thing_that_goes_on_has_a_finding(figures, name, severity):
    (found,) = look(figures=figures).findings
    assert (found.name, found.severity) == (name, severity)


def test_the_worst_comes_first():
    found = look({"cpu_turbo": True, "nice": 5}, {"swap_in_bytes": 1}).findings
    ranks = [SEVERITIES.index(one.severity) for one in found]
    assert ranks == [0, 1, 2]


def busy_finding(*busy, cpus=1.0, platform="linux"):
    """What is said where others keep so many processors busy, and these programs were seen."""
    (found,) = look(figures={"other_cpu_cores": cpus}, busy=busy, platform=platform).findings
    return found


def test_whoever_is_busy_is_named():
    found = busy_finding(
        Busy(name="cc1", pids=(7, 9), cpus=0.93), Busy(name="Xorg", pids=(4,), cpus=0.06)
    )
    assert found.what == (
        "others keep 1.00 of 8 CPUs busy: cc1 0.93 (2 processes), Xorg 0.06 (process 4)"
    )
    assert (found.is_command, found.mend) == (
        True,
        "ps -fp 7,4,9   # end what is not needed, or wait",
    )


def test_the_command_for_many_processes_asks_for_the_busiest_of_each_program():
    found = busy_finding(
        Busy(name="cc1", pids=tuple(range(10, 99)), cpus=0.9), Busy(name="ld", pids=(5,), cpus=0.1)
    )
    assert found.mend.split()[:3] == ["ps", "-fp", "10,5,11,12"]


def test_work_that_nobody_is_seen_to_do_is_said_beside_what_is_seen():
    found = busy_finding(Busy(name="cc1", pids=(7,), cpus=0.5), cpus=2.0)
    assert found.what == (
        "others keep 2.00 of 8 CPUs busy: cc1 0.50 (process 7), "
        "1.50 by processes that ended meanwhile or are not shown to you"
    )
    assert found.is_command


@pytest.mark.parametrize(("platform", "top"), [("linux", "top"), ("darwin", "top -o cpu")])
def test_where_nobody_is_seen_to_work_it_says_why_and_where_to_look(platform, top):
    found = busy_finding(platform=platform)
    assert found.what == (
        "others keep 1.00 of 8 CPUs busy: processes that ended meanwhile or are not shown to you"
    )
    assert not found.is_command
    assert found.mend.startswith(f"look with sudo {top}, in a container on its host; end what ")


def clock_of(*seen, slowed_by=()):
    """What is said of a GPU's clock, of which these MHz were seen."""
    now = {"index": 0, "name": "H100", "slowed_by": list(slowed_by)}
    if seen:
        now |= {"sm_min_mhz": min(seen), "sm_median_mhz": sorted(seen)[len(seen) // 2]}
    found = look({"gpus": [GPU]}, {"gpus": [now]})
    says = {one.name: one.what for one in found.findings}
    return "fine" if "GPU clocks" in found.fine else says["GPU clocks"]


def test_a_clock_that_falls_at_rest_is_not_locked():
    assert clock_of(345, 345) == (
        "the clock of GPU 0 is not locked, or low: 345 MHz were seen, 1,980 are its most"
    )
    assert "is not locked" in clock_of(345, 1980)


def test_a_clock_that_stands_below_its_most_is_locked():
    assert clock_of(1485, 1485) == "fine"
    assert clock_of(990, 990) == "fine"
    assert clock_of(600, 600, slowed_by=["clocks set by the user"]) == "fine"


def test_a_clock_that_moves_or_is_at_its_most_says_nothing():
    assert "nothing says that the clock of GPU 0 is locked: 1,980 MHz" in clock_of(1980, 1980)
    assert "nothing says" in clock_of(1500, 1600)
    assert clock_of() == "nothing says that the clock of GPU 0 is locked"


def test_the_command_locks_a_clock_that_a_warm_card_holds_too():
    found = {one.name: one for one in look({"gpus": [GPU, GPU]}).findings}
    assert "nvidia-smi -lgc 1485" in found["GPU clocks"].mend
    assert "GPU 0 is locked; nothing says that the clock of GPU 1" in found["GPU clocks"].what


def test_what_cannot_be_told_is_neither_fine_nor_found():
    seen = Seen(seconds=1.0, samples=2, missing=dict.fromkeys(QUIET_FIGURES, "probes are off"))
    found = examine(dict.fromkeys(QUIET_FACTS, MISSING), Moment(seen=seen))
    assert found.findings == ()
    assert found.not_told["other processes"] == "probes are off"
    assert found.not_told["governor"] == "nothing there"
    assert found.fine == ()


def test_a_quota_of_all_that_is_in_sight_holds_nobody_up():
    allowed = look({"cpu_allowed": 8, "cgroup_cpus": 8.0})
    assert "CPU limit" in allowed.fine


def used(**programs):
    """A look at processes: by name, their numbers and what each used so far, in seconds."""
    return {
        (pid, 100.0): Used(name=name, cpu_s=cpu_s)
        for name, each in programs.items()
        for pid, cpu_s in each.items()
    }


def test_who_uses_next_to_nothing_is_not_named():
    found = busiest(used(a={1: 0.0}, b={2: 0.0}), used(a={1: 0.08}, b={2: 0.1}), 2.0)
    assert [one.name for one in found] == ["b"]


def test_the_busiest_programs_between_two_looks():
    before = used(init={1: 5.0}, cc1={7: 10.0, 8: 2.0, 9: 4.0}, idle={11: 3.0}, gone={12: 1.0})
    after = used(init={1: 6.0}, cc1={7: 11.0, 8: 5.0, 9: 4.0}, idle={11: 3.0})
    assert busiest(before, after, 2.0) == (
        Busy(name="cc1", pids=(8, 7), cpus=2.0),  # 9 rested
        Busy(name="init", pids=(1,), cpus=0.5),
    )


def test_what_began_between_the_looks_did_all_of_its_work_there():
    before = {(7, 100.0): Used(name="cc1", cpu_s=50.0)}
    after = {(7, 103.0): Used(name="as", cpu_s=1.0)}  # the number was given again
    assert busiest(before, after, 2.0) == (Busy(name="as", pids=(7,), cpus=0.5),)


def test_only_what_is_told_is_counted_and_never_this_process(monkeypatch):
    def process(pid, times, name="cc1"):
        info = {"pid": pid, "name": name, "create_time": 9.0, "cpu_times": times}
        return SimpleNamespace(info=info)

    times = SimpleNamespace(user=1.0, system=0.5)
    listed = [
        process(7, times),
        process(8, None),
        process(9, times, None),
        process(5, times, "a\x1b[2J"),
    ]
    listed.append(process(os.getpid(), times))
    monkeypatch.setattr("psutil.process_iter", lambda _: listed)
    assert cpu_seconds() == {
        (7, 9.0): Used(name="cc1", cpu_s=1.5),
        (9, 9.0): Used(name="?", cpu_s=1.5),
        (5, 9.0): Used(name="a?[2J", cpu_s=1.5),
    }
