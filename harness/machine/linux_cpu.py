"""How Linux runs the processor: its revision, kinds of cores, clocks, isolation, mitigations.

What the processor is, and of how many cores, is in `linux.py`. Raises nothing: what cannot be read
is unavailable. The `parse_` functions are pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from harness.machine.facts import Facts, NotKnown, collect, read
from harness.machine.procfs import CPU, contents, count_cpus, cpuinfo_blocks, paths

_POLICIES = f"{CPU}/cpufreq/policy*"
# Who has an ARM licence of its own, by the numbers that ARM gives out.
_ARM_VENDORS = {
    "0x41": "ARM",
    "0x42": "Broadcom",
    "0x43": "Cavium",
    "0x46": "Fujitsu",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x50": "Applied Micro",
    "0x51": "Qualcomm",
    "0x53": "Samsung",
    "0x61": "Apple",
    "0x6d": "Microsoft",
    "0xc0": "Ampere",
}
# Our word -> the kernel's: x86, ARM, POWER.
_REVISION = {
    "family": "cpu family",
    "model": "model",
    "stepping": "stepping",
    "architecture": "CPU architecture",
    "part": "CPU part",
    "variant": "CPU variant",
    "revision": "CPU revision",
    "version": "revision",
}


def linux_cpu_facts(root: Path, cpuinfo: Callable[[], str]) -> Facts:
    """What Linux can say of how it runs the processor; `cpuinfo` reads /proc/cpuinfo."""
    return collect(
        {
            "cpu_vendor": lambda: parse_vendor(cpuinfo()),
            "cpu_revision": lambda: parse_revision(cpuinfo()),
            "cpu_sockets": lambda: _sockets(root, cpuinfo),
            "cpu_core_kinds": lambda: _core_kinds(root),
            "cpu_smt": lambda: read(root, f"{CPU}/smt/active") == "1",
            "cpu_isolated": lambda: read(root, f"{CPU}/isolated") or "none",
            "cpu_limits_mhz": lambda: _limits(root),
            "cpu_driver": lambda: _policies(root, "scaling_driver"),
            "cpu_governor": lambda: _policies(root, "scaling_governor"),
            "cpu_energy_preference": lambda: _policies(root, "energy_performance_preference"),
            "cpu_turbo": lambda: _turbo(root),
            "cpu_mitigations": lambda: _mitigations(root),
            "power_profile": lambda: read(root, "sys/firmware/acpi/platform_profile"),
            "numa_nodes": lambda: len(paths(root, "sys/devices/system/node/node[0-9]*")),
            "numa_balancing": lambda: read(root, "proc/sys/kernel/numa_balancing") != "0",
        }
    )


def parse_vendor(cpuinfo: str) -> str:
    """Who made the processor: `GenuineIntel`, `ARM`."""
    first = cpuinfo_blocks(cpuinfo)[0]
    if first.get("vendor_id"):
        return first["vendor_id"]
    implementer = first.get("CPU implementer")
    if implementer is None:
        raise NotKnown("/proc/cpuinfo names no vendor")
    return _ARM_VENDORS.get(implementer.lower(), f"ARM implementer {implementer}")


def parse_revision(cpuinfo: str) -> dict[str, int | str]:
    """Family, model and stepping, or what other processors have in their place."""
    first = cpuinfo_blocks(cpuinfo)[0]
    found = {word: first[key] for word, key in _REVISION.items() if first.get(key)}
    if not found:
        raise NotKnown("/proc/cpuinfo does not say")
    return {word: int(said) if said.isdecimal() else said for word, said in found.items()}


def _sockets(root: Path, cpuinfo: Callable[[], str]) -> int:
    blocks = cpuinfo_blocks(cpuinfo())
    sockets = {block.get("physical id") for block in blocks}
    if None in sockets:
        return len(contents(root, f"{CPU}/cpu[0-9]*/topology/physical_package_id"))
    return len(sockets)


def _core_kinds(root: Path) -> dict[str, int]:
    """Hardware threads of each kind of core: Intel's by name, ARM's by their share of speed."""
    intel = {"performance": "sys/devices/cpu_core/cpus", "efficiency": "sys/devices/cpu_atom/cpus"}
    if all((root / path).is_file() for path in intel.values()):
        return {kind: count_cpus(read(root, path)) for kind, path in intel.items()}
    found = sorted(root.glob(f"{CPU}/cpu[0-9]*/cpu_capacity"))
    shares = Counter(int(read(root, str(path.relative_to(root)))) for path in found)
    if len(shares) < 2:
        raise NotKnown("the kernel tells no kinds of cores apart")
    return {f"capacity {share}": n for share, n in sorted(shares.items(), reverse=True)}


def _limits(root: Path) -> dict[str, float]:
    lowest = contents(root, f"{_POLICIES}/scaling_min_freq")
    highest = contents(root, f"{_POLICIES}/scaling_max_freq")
    return {"lowest": min(map(int, lowest)) / 1000, "highest": max(map(int, highest)) / 1000}


def _policies(root: Path, name: str) -> str:
    return " and ".join(contents(root, f"{_POLICIES}/{name}"))


def _turbo(root: Path) -> bool:
    try:
        return read(root, f"{CPU}/intel_pstate/no_turbo") == "0"
    except NotKnown:
        return read(root, f"{CPU}/cpufreq/boost") == "1"


def _mitigations(root: Path) -> dict[str, str]:
    """Of the vulnerabilities that it has: what is done about each."""
    found = {
        path.name: read(root, str(path.relative_to(root)))
        for path in paths(root, f"{CPU}/vulnerabilities/*")
    }
    return {name: said for name, said in found.items() if said != "Not affected"}
