"""Facts of a Mac, from one call of `sysctl` and the system's own version file.

`parse_sysctl` and `facts_from_sysctl` are pure. Raises nothing: what macOS does not tell is
unavailable.
"""

from __future__ import annotations

import plistlib
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.machine.facts import Facts, NotKnown, collect, unavailable

_VERSION = "System/Library/CoreServices/SystemVersion.plist"
_NAMES = (
    "machdep.cpu.brand_string",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
    "machdep.cpu.microcode_version",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.memsize",
    "hw.l1dcachesize",
    "hw.l1icachesize",
    "hw.l2cachesize",
    "hw.l3cachesize",
    "hw.perflevel0.l2cachesize",
    "hw.cpufrequency_max",
    "hw.optional",
    "vm.swapusage",
    "kern.osrelease",
    "kern.hv_vmm_present",
    "sysctl.proc_translated",
)
# Our name of an instruction set (Linux') -> where macOS says it: Apple's processors, then Intel's.
_ARM_FLAGS = {
    "asimd": "hw.optional.neon",
    "asimdhp": "hw.optional.arm.FEAT_FP16",
    "asimddp": "hw.optional.arm.FEAT_DotProd",
    "bf16": "hw.optional.arm.FEAT_BF16",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
    "sme": "hw.optional.arm.FEAT_SME",
}
_INTEL_FLAGS = {
    "sse4_2": "SSE4.2",
    "avx": "AVX1.0",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx512f": "AVX512F",
}


def run_sysctl() -> str:
    """What `sysctl` says of the names we know; an unknown name is left out by it."""
    command = ["/usr/sbin/sysctl", *_NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    return done.stdout


def darwin_facts(root: Path, sysctl: Callable[[], str] = run_sysctl) -> Facts:
    """What macOS can say of this machine; `sysctl` gives the output of that program."""
    try:
        answers: Mapping[str, str] = parse_sysctl(sysctl())
    except (OSError, subprocess.SubprocessError):
        answers = {}
    return {**facts_from_sysctl(answers), **collect({"os": lambda: _os(root)})}


def parse_sysctl(text: str) -> dict[str, str]:
    """`name: value` lines."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def facts_from_sysctl(answers: Mapping[str, str]) -> Facts:
    """The facts in what `sysctl` said."""

    def say(name: str) -> str:
        if not answers.get(name):
            raise NotKnown(f"sysctl does not say {name}")
        return answers[name]

    facts = collect(
        {
            "cpu_model": lambda: say("machdep.cpu.brand_string"),
            "cpu_cores": lambda: int(say("hw.physicalcpu")),
            "cpu_threads": lambda: int(say("hw.logicalcpu")),
            "cpu_allowed": lambda: int(say("hw.logicalcpu")),
            "cpu_flags": lambda: _flags(answers),
            "cpu_caches_bytes": lambda: _caches(answers),
            "cpu_max_mhz": lambda: int(say("hw.cpufrequency_max")) / 1e6,
            "cpu_microcode": lambda: say("machdep.cpu.microcode_version"),
            "ram_bytes": lambda: int(say("hw.memsize")),
            "swap_bytes": lambda: parse_swap(say("vm.swapusage")),
            "kernel": lambda: f"Darwin {say('kern.osrelease')}",
            "virtualisation": lambda: _virtualisation(answers),
        }
    )
    for name in ("cpu_governor", "cpu_turbo", "numa_nodes", "huge_pages"):
        facts[name] = unavailable("macOS does not say")
    for name in ("cgroup_memory_bytes", "cgroup_cpus"):
        facts[name] = unavailable("macOS has no cgroups")
    return facts


def parse_swap(text: str) -> int:
    """Bytes of `total = 2048.00M  used = …`."""
    match = re.match(r"total = ([\d.,]+)M", text)
    if match is None:
        raise NotKnown("sysctl's vm.swapusage is not understood")
    return round(float(match[1].replace(",", ".")) * 2**20)


def _flags(answers: Mapping[str, str]) -> list[str]:
    arm = [flag for flag, name in _ARM_FLAGS.items() if answers.get(name) == "1"]
    names = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    words = {word for name in names for word in answers.get(name, "").split()}
    intel = [flag for flag, word in _INTEL_FLAGS.items() if word in words]
    if not arm and not intel:
        raise NotKnown("sysctl does not say")
    return sorted(arm or intel)


def _caches(answers: Mapping[str, str]) -> dict[str, int]:
    names = {
        "L1d": "hw.l1dcachesize",
        "L1i": "hw.l1icachesize",
        # On Apple's processors the plain name is the efficiency cores'.
        "L2": "hw.perflevel0.l2cachesize"
        if "hw.perflevel0.l2cachesize" in answers
        else "hw.l2cachesize",
        "L3": "hw.l3cachesize",
    }
    sizes = {level: int(answers.get(name, "0")) for level, name in names.items()}
    found = {level: size for level, size in sizes.items() if size}
    if not found:
        raise NotKnown("sysctl does not say")
    return found


def _virtualisation(answers: Mapping[str, str]) -> str:
    if answers.get("sysctl.proc_translated") == "1":
        return "Rosetta 2: Python is built for another processor than this one"
    if "kern.hv_vmm_present" not in answers:
        raise NotKnown("sysctl does not say kern.hv_vmm_present")
    return "virtual machine" if answers["kern.hv_vmm_present"] == "1" else "none"


def _os(root: Path) -> str:
    try:
        version = plistlib.loads((root / _VERSION).read_bytes())
    except (OSError, plistlib.InvalidFileException) as error:
        raise NotKnown(f"/{_VERSION} cannot be read") from error
    return f"{version['ProductName']} {version['ProductVersion']}"
