"""Facts of a Mac, from one call of `sysctl`, one of `ioreg`, and the system's own version file.

`parse_sysctl`, `facts_from_sysctl` and `parse_gpu_cores` are pure. Raises nothing: what macOS
does not tell is unavailable.
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
    "machdep.cpu.vendor",
    "machdep.cpu.family",
    "machdep.cpu.model",
    "machdep.cpu.stepping",
    "hw.cputype",
    "hw.cpufamily",
    "hw.packages",
    "hw.nperflevels",
    "hw.perflevel0.name",
    "hw.perflevel0.logicalcpu",
    "hw.perflevel1.name",
    "hw.perflevel1.logicalcpu",
    "hw.cpufrequency_min",
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
    "kern.osversion",
    "kern.hv_vmm_present",
    "sysctl.proc_translated",
)
# Our name of an instruction set (Linux') -> where macOS says it: Apple's processors, then Intel's.
_ARM_FLAGS = {
    "asimd": "hw.optional.neon",
    "asimdhp": "hw.optional.arm.FEAT_FP16",
    "asimddp": "hw.optional.arm.FEAT_DotProd",
    "asimdfhm": "hw.optional.arm.FEAT_FHM",
    "bf16": "hw.optional.arm.FEAT_BF16",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
    "sme": "hw.optional.arm.FEAT_SME",
    "sme2": "hw.optional.arm.FEAT_SME2",
}
_INTEL_FLAGS = {
    "sse4_2": "SSE4.2",
    "avx": "AVX1.0",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx512f": "AVX512F",
}


# Why a fact is never known here -> the facts.
_NEVER: Mapping[str, tuple[str, ...]] = {
    "macOS does not say": (
        *("cpu_isolated", "cpu_driver", "cpu_governor", "cpu_energy_preference", "cpu_turbo"),
        *("power_profile", "cpu_mitigations", "numa_nodes", "numa_balancing", "swappiness"),
        *("overcommit", "huge_pages", "huge_pages_defrag", "huge_pages_reserved", "aslr"),
        *("kernel_switches", "container", "clock_source"),
    ),
    "macOS tells it only to a program that takes seconds": (
        *("ram_type", "ram_modules", "ram_speed_mt_per_s"),
    ),
    "macOS has no cgroups": ("cgroup_memory_bytes", "cgroup_cpus"),
}


def run_sysctl() -> str:
    """What `sysctl` says of the names we know; an unknown name is left out by it."""
    command = ["/usr/sbin/sysctl", *_NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    return done.stdout


def run_ioreg() -> str:
    """What the registry of devices says of an Apple GPU; nothing where there is none."""
    command = ["/usr/sbin/ioreg", "-r", "-d", "1", "-c", "AGXAccelerator"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    return done.stdout


def darwin_facts(
    root: Path, sysctl: Callable[[], str] = run_sysctl, ioreg: Callable[[], str] = run_ioreg
) -> Facts:
    """What macOS can say of this machine; `sysctl` and `ioreg` give what those programs print."""
    try:
        answers: Mapping[str, str] = parse_sysctl(sysctl())
    except (OSError, subprocess.SubprocessError):
        answers = {}
    rest = collect({"os": lambda: _os(root), "apple_gpu_cores": lambda: _gpu_cores(ioreg)})
    return {**facts_from_sysctl(answers), **rest}


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
            "cpu_vendor": lambda: _vendor(answers),
            "cpu_revision": lambda: _revision(answers),
            "cpu_sockets": lambda: int(say("hw.packages")),
            "cpu_core_kinds": lambda: _core_kinds(answers),
            "cpu_smt": lambda: int(say("hw.logicalcpu")) > int(say("hw.physicalcpu")),
            "cpu_limits_mhz": lambda: {
                "lowest": int(say("hw.cpufrequency_min")) / 1e6,
                "highest": int(say("hw.cpufrequency_max")) / 1e6,
            },
            "kernel_build": lambda: say("kern.osversion"),
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
    return {**facts, **{name: unavailable(why) for why, names in _NEVER.items() for name in names}}


def parse_swap(text: str) -> int:
    """Bytes of `total = 2048.00M  used = …`."""
    match = re.match(r"total = ([\d.,]+)M", text)
    if match is None:
        raise NotKnown("sysctl's vm.swapusage is not understood")
    return round(float(match[1].replace(",", ".")) * 2**20)


def parse_gpu_cores(text: str) -> int:
    """Cores of an Apple GPU: the registry's `"gpu-core-count" = 19`."""
    match = re.search(r'"gpu-core-count" = (\d+)', text)
    if match is None:
        raise NotKnown("the registry lists no Apple GPU")
    return int(match[1])


def _gpu_cores(ioreg: Callable[[], str]) -> int:
    try:
        return parse_gpu_cores(ioreg())
    except (OSError, subprocess.SubprocessError) as error:
        raise NotKnown("ioreg cannot be run") from error


def _vendor(answers: Mapping[str, str]) -> str:
    if answers.get("machdep.cpu.vendor"):
        return answers["machdep.cpu.vendor"]
    if answers.get("machdep.cpu.brand_string", "").startswith("Apple"):
        return "Apple"
    raise NotKnown("sysctl does not say machdep.cpu.vendor")


def _revision(answers: Mapping[str, str]) -> dict[str, int]:
    """Intel's numbers; of an Apple processor the one that names its family."""
    names = {"family": "machdep.cpu.family", "model": "machdep.cpu.model"}
    names |= {"stepping": "machdep.cpu.stepping"}
    if "machdep.cpu.family" not in answers:
        names = {"type": "hw.cputype", "family": "hw.cpufamily"}
    found = {word: int(answers[name]) for word, name in names.items() if answers.get(name)}
    if not found:
        raise NotKnown("sysctl does not say")
    return found


def _core_kinds(answers: Mapping[str, str]) -> dict[str, int]:
    """Hardware threads of each kind: `{"Performance": 6, "Efficiency": 4}`."""
    levels = (f"hw.perflevel{level}" for level in range(int(answers.get("hw.nperflevels", "0"))))
    found = {
        answers.get(f"{level}.name", level): int(answers[f"{level}.logicalcpu"])
        for level in levels
        if f"{level}.logicalcpu" in answers
    }
    if len(found) < 2:
        raise NotKnown("sysctl tells no kinds of cores apart")
    return found


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
