"""How Linux is set up where it matters to a measurement: kernel, container, addresses, memory.

Raises nothing: what cannot be read is unavailable. The `parse_` functions are pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.machine.facts import Facts, NotKnown, collect, read
from harness.machine.memory_modules import module_facts
from harness.machine.procfs import cpuinfo_blocks

# Switches that change speed, clocks, memory or which processors there are; others may hold names.
_WORDS = """
    amd_iommu amd_pstate clocksource cpufreq.default_governor cpuidle.governor cpuidle.off
    default_hugepagesz hugepages hugepagesz idle intel_idle.max_cstate intel_iommu intel_pstate
    iommu irqaffinity isolcpus kpti kvm.halt_poll_ns l1tf maxcpus mds mem mitigations nmi_watchdog
    no_turbo nohz nohz_full nokaslr norandmaps nopti nosmp nosmt nospec_store_bypass_disable
    nospectre_v1 nospectre_v2 nowatchdog nr_cpus numa numa_balancing pcie_aspm pcie_port_pm preempt
    processor.max_cstate psi pti rcu_nocbs retbleed skew_tick spec_rstack_overflow
    spec_store_bypass_disable spectre_v2 srbds swapaccount systemd.unified_cgroup_hierarchy
    threadirqs transparent_hugepage tsc tsx tsx_async_abort workqueue.power_efficient zswap.enabled
"""
_SWITCHES = frozenset(_WORDS.split())
_ADDRESSES = {"0": "none", "1": "stack, libraries and mappings", "2": "all"}
_OVERCOMMIT = {"0": "within reason", "1": "always", "2": "never"}
_NO_RANDOMIZE = 0x0040000  # of a process' personality
_CONTAINER_FILES = {"run/.containerenv": "podman", ".dockerenv": "docker"}
_CONTAINER_GROUPS = ("kubepods", "docker", "podman", "libpod", "lxc", "containerd")


def linux_system_facts(root: Path, cpuinfo: Callable[[], str]) -> Facts:
    """What Linux can say of how it is set up; `cpuinfo` reads /proc/cpuinfo."""
    facts = collect(
        {
            "kernel_build": lambda: _said(read(root, "proc/sys/kernel/version")),
            "kernel_switches": lambda: parse_switches(read(root, "proc/cmdline")),
            "virtualisation": lambda: _virtualisation(root, cpuinfo),
            "container": lambda: _container(root),
            "aslr": lambda: _addresses(root),
            "clock_source": lambda: _said(
                read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")
            ),
            "swappiness": lambda: int(read(root, "proc/sys/vm/swappiness")),
            "overcommit": lambda: _OVERCOMMIT[read(root, "proc/sys/vm/overcommit_memory")],
            "huge_pages": lambda: _huge_pages(root, "enabled"),
            "huge_pages_defrag": lambda: _huge_pages(root, "defrag"),
            "huge_pages_reserved": lambda: parse_huge_pages(read(root, "proc/meminfo")),
        }
    )
    return {**facts, **module_facts(root)}


def parse_choice(text: str) -> str:
    """The word in brackets: `always [madvise] never`."""
    match = re.search(r"\[(\S+)\]", text)
    if match is None:
        raise NotKnown("the kernel marks no choice")
    return match[1]


def parse_switches(cmdline: str) -> list[str]:
    """Those of the kernel's command line that matter here, in their order; paths never do."""
    words = cmdline.partition(" -- ")[0].split()
    return [word for word in words if word.partition("=")[0] in _SWITCHES]


def parse_huge_pages(meminfo: str) -> int:
    """Huge pages that are set aside."""
    match = re.search(r"^HugePages_Total:\s+(\d+)", meminfo, re.MULTILINE)
    if match is None:
        raise NotKnown("the kernel does not say HugePages_Total")
    return int(match[1])


def _said(text: str) -> str:
    if not text:
        raise NotKnown("the kernel does not say")
    return text


def _huge_pages(root: Path, name: str) -> str:
    return parse_choice(read(root, f"sys/kernel/mm/transparent_hugepage/{name}"))


def _addresses(root: Path) -> str:
    said = _ADDRESSES[read(root, "proc/sys/kernel/randomize_va_space")]
    try:
        personality = int(read(root, "proc/self/personality"), 16)
    except (NotKnown, ValueError):  # not for everyone to read
        return said
    return "none, for this process" if personality & _NO_RANDOMIZE else said


def _virtualisation(root: Path, cpuinfo: Callable[[], str]) -> str:
    """Whose machine this is; only the hypervisor's vendor is read, no serial number."""
    flags = (cpuinfo_blocks(cpuinfo())[0].get("flags") or "").split()
    try:
        vendor = read(root, "sys/class/dmi/id/sys_vendor")
    except NotKnown:
        vendor = ""
    if "hypervisor" in flags:
        return f"virtual machine ({vendor})" if vendor else "virtual machine"
    if flags:  # an x86 processor always says
        return "none"
    if vendor:
        return f"not said; made by {vendor}"
    raise NotKnown("this processor does not say")


def _container(root: Path) -> str:
    """The kind of container, by what its maker leaves in it; no name and no identifier."""
    for path, kind in _CONTAINER_FILES.items():
        if (root / path).exists():
            return kind
    try:
        return _said(read(root, "run/systemd/container"))
    except NotKnown:
        groups = read(root, "proc/self/cgroup")
    return next((kind for kind in _CONTAINER_GROUPS if kind in groups), "none")
