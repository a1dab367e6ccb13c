"""Checks of how the machine is set up, from its facts alone. Pure.

Each check takes the facts and returns its verdict. The effects are what is known of these settings
in general; how much one matters here only a measurement tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.machine.doctor.finding import Finding, Fine, NotTold, Verdict, fact, why_missing

Facts = Mapping[str, Any]
_SYS = "/sys/devices/system/cpu"
_GOOD_CLOCKS = ("tsc", "arch_sys_counter", "kvm-clock")  # read without a call of the kernel
_DYNAMIC_DRIVERS = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
_AFFINITY = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def check_governor(facts: Facts) -> Verdict:
    """The policy that sets the clock."""
    name, governor = "governor", fact(facts, "cpu_governor")
    if governor is None:
        return NotTold(name=name, why=why_missing(facts, "cpu_governor"))
    if governor == "performance":
        return Fine(name=name)
    slow = "powersave" in governor and fact(facts, "cpu_driver") not in _DYNAMIC_DRIVERS
    return Finding(
        name=name,
        severity="high" if slow else "medium",
        what=f"the governor that sets the clock is {governor}",
        effect="the clock stays at its lowest: up to several times slower"
        if slow
        else "the clock follows the load: the first tokens are slower, and trials differ",
        mend="sudo cpupower frequency-set -g performance",
    )


def check_turbo(facts: Facts) -> Verdict:
    """Clocks above the nominal one."""
    name, turbo = "turbo", fact(facts, "cpu_turbo")
    if turbo is None:
        return NotTold(name=name, why=why_missing(facts, "cpu_turbo"))
    if not turbo:
        return Fine(name=name)
    intel = fact(facts, "cpu_driver") in ("intel_pstate", "intel_cpufreq")
    return Finding(
        name=name,
        severity="low",
        what="turbo is on: the clock hangs on heat, and on how many cores work",
        effect="the first trials are faster than later ones, by some percent to a third",
        mend=f"echo 1 | sudo tee {_SYS}/intel_pstate/no_turbo"
        if intel
        else f"echo 0 | sudo tee {_SYS}/cpufreq/boost",
    )


def check_power_profile(facts: Facts) -> Verdict:
    """What firmware and processor weigh speed against."""
    name = "power profile"
    known = [fact(facts, one) for one in ("power_profile", "cpu_energy_preference")]
    words = [str(one) for one in known if one is not None]
    if not words:
        return NotTold(name=name, why=why_missing(facts, "power_profile"))
    saving = [one for one in words if "power" in one or "quiet" in one or "cool" in one]
    if not saving:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="medium",
        what=f"the machine saves power: {', '.join(saving)}",
        effect="the clock stays below what the processor can do, more so when it is warm",
        mend="powerprofilesctl set performance",
    )


def check_smt(facts: Facts) -> Verdict:
    """Cores that run two threads."""
    name, smt = "SMT", fact(facts, "cpu_smt")
    if smt is None:
        return NotTold(name=name, why=why_missing(facts, "cpu_smt"))
    if not smt:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what="cores run two threads at once (SMT)",
        effect="a thread that shares its core gets about half to two thirds of it",
        mend=f"echo off | sudo tee {_SYS}/smt/control",
    )


def check_huge_pages(facts: Facts) -> Verdict:
    """Huge pages for all memory, made while programs run."""
    name, pages = "huge pages", fact(facts, "huge_pages")
    if pages is None:
        return NotTold(name=name, why=why_missing(facts, "huge_pages"))
    if pages != "always":
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what="the kernel backs all memory by huge pages as it finds them",
        effect="speed and memory differ by some percent with what was free before",
        mend="echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    )


def check_swap(facts: Facts) -> Verdict:
    """Whether memory may be swapped out."""
    name, swap = "swap space", fact(facts, "swap_bytes")
    if swap is None:
        return NotTold(name=name, why=why_missing(facts, "swap_bytes"))
    if swap == 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what=f"there are {swap / 2**30:.1f} GiB of swap space",
        effect="a model that does not quite fit is read from disk: 10 times slower and more",
        mend="sudo swapoff -a",
    )


def check_numa(facts: Facts) -> Verdict:
    """Memory that is near some cores, and far from others."""
    name, nodes = "NUMA", fact(facts, "numa_nodes")
    if nodes is None:
        return NotTold(name=name, why=why_missing(facts, "numa_nodes"))
    if nodes < 2:
        return Fine(name=name)
    moves = fact(facts, "numa_balancing")
    return Finding(
        name=name,
        severity="medium",
        what=f"there are {nodes} memory nodes" + (", and pages move among them" if moves else ""),
        effect="decoding hangs on where the weights happen to lie: up to 2 times slower",
        mend="numactl --cpunodebind=0 --membind=0 python -m harness run STUDY",
    )


def check_container_limits(facts: Facts) -> Verdict:
    """A quota of CPU time."""
    name, limit, allowed = "CPU limit", fact(facts, "cgroup_cpus"), fact(facts, "cpu_allowed")
    if allowed is None:
        return NotTold(name=name, why=why_missing(facts, "cpu_allowed"))
    if limit is None or limit >= allowed:  # where no limit is set, that is the fact's reason
        return Fine(name=name)
    return Finding(
        name=name,
        severity="medium",
        what=f"a limit of {limit:g} CPUs is set, and {allowed} are in sight",
        effect="more threads than that are all stopped for up to 0.1 s at a time",
        mend=f"threads: {max(1, int(limit))} in the study, or no limit for the container",
        is_command=False,
    )


def check_threads(facts: Facts) -> Verdict:
    """Threads that are bound, or processors that are held back."""
    name, env = "threads", fact(facts, "env") or {}
    bound = [f"{one}={env[one]}" for one in _AFFINITY if one in env]
    if bound:
        return Finding(
            name=name,
            severity="low",
            what=f"the environment binds threads to processors: {', '.join(bound)}",
            effect="threads may share a core while others rest",
            mend=f"unset {' '.join(one.partition('=')[0] for one in bound)}",
        )
    allowed, there = fact(facts, "cpu_allowed"), fact(facts, "cpu_threads")
    if allowed is None or there is None:
        return NotTold(name=name, why=why_missing(facts, "cpu_allowed"))
    if allowed >= there:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what=f"only {allowed} of {there} hardware threads may be used",
        effect="a study with more `threads:` than that runs them in turn",
        mend="taskset -cp $$   # shows the processors that are allowed here",
    )


def check_priority(facts: Facts) -> Verdict:
    """Whether others go first."""
    name, nice = "priority", fact(facts, "nice")
    if nice is None:
        return NotTold(name=name, why=why_missing(facts, "nice"))
    if nice <= 0:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="medium",
        what=f"this runs at priority (nice) {nice}",
        effect="whatever else wants a processor goes first",
        mend="sudo renice -n 0 -p $$",
    )


def check_clock_source(facts: Facts) -> Verdict:
    """What the time is read from."""
    name, clock = "clock source", fact(facts, "clock_source")
    if clock is None:
        return NotTold(name=name, why=why_missing(facts, "clock_source"))
    if clock in _GOOD_CLOCKS:
        return Fine(name=name)
    return Finding(
        name=name,
        severity="low",
        what=f"the system reads the time from {clock}",
        effect="each reading takes a microsecond or more: it shows for tokens below 1 ms",
        mend="cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
    )


def check_virtualisation(facts: Facts) -> Verdict:
    """What a virtual machine hides."""
    name, said = "virtual machine", fact(facts, "virtualisation")
    if said is None:
        return NotTold(name=name, why=why_missing(facts, "virtualisation"))
    if not str(said).startswith("virtual machine"):
        return Fine(name=name)
    return Finding(
        name=name,
        severity="medium",
        what="this is a virtual machine",
        effect="its host may slow it down, and hides clock and heat: trials differ by some percent",
        mend="more trials (`trials:` or `until:` in the study), or a machine of your own",
        is_command=False,
    )


CHECKS: tuple[Callable[[Facts], Verdict], ...] = (
    check_governor,
    check_power_profile,
    check_turbo,
    check_smt,
    check_swap,
    check_huge_pages,
    check_numa,
    check_container_limits,
    check_threads,
    check_priority,
    check_clock_source,
    check_virtualisation,
)
