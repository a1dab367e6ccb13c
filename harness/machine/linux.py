"""Facts of a Linux machine, from /proc, /sys and /etc under a root that tests may set.

What the processor is, memory, limits and names are here; how the processor is run and how the
system is set up in `linux_cpu.py` and `linux_system.py`. Runs no program and raises nothing: what
cannot be read, or is not understood, is unavailable. The `parse_` functions are pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.machine.facts import Facts, NotKnown, collect, read
from harness.machine.linux_cpu import linux_cpu_facts
from harness.machine.linux_system import linux_system_facts
from harness.machine.procfs import CPU, contents, count_cpus, cpuinfo_blocks, cpuinfo_reader, paths

# What the kernels of matrix libraries dispatch on, as the kernel spells it.
_X86_FLAGS = (
    "sse4_2 avx avx2 fma f16c avx_vnni avx512f avx512bw avx512_vnni avx512_bf16 avx512_fp16 "
    "amx_tile amx_bf16 amx_int8"
)
_ARM_FLAGS = (
    "asimd asimdhp asimddp asimdfhm sve sve2 bf16 svebf16 i8mm svei8mm "
    "sme sme2 smef16f32 smeb16f32 smei8i32"
)
_FLAGS = frozenset(f"{_X86_FLAGS} {_ARM_FLAGS}".split())
# A v1 cgroup without a limit says the largest page-aligned number.
_V1_UNLIMITED = 2**62


def linux_facts(root: Path) -> Facts:
    """What Linux can say of this machine and of the limits of this process."""
    cpuinfo = cpuinfo_reader(root)
    facts = collect(
        {
            "cpu_model": lambda: parse_cpu_model(cpuinfo()),
            "cpu_cores": lambda: _cores(root, cpuinfo),
            "cpu_threads": lambda: parse_threads(cpuinfo()),
            "cpu_allowed": lambda: parse_allowed(read(root, "proc/self/status")),
            "cpu_flags": lambda: parse_flags(cpuinfo()),
            "cpu_caches_bytes": lambda: _caches(root),
            "cpu_max_mhz": lambda: int(read(root, f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq")) / 1000,
            "cpu_microcode": lambda: parse_microcode(cpuinfo()),
            "ram_bytes": lambda: parse_kib(read(root, "proc/meminfo"), "MemTotal"),
            "swap_bytes": lambda: parse_kib(read(root, "proc/meminfo"), "SwapTotal"),
            "cgroup_memory_bytes": lambda: _cgroup_memory(root),
            "cgroup_cpus": lambda: _cgroup_cpus(root),
            "os": lambda: parse_os_release(read(root, "etc/os-release")),
            "kernel": lambda: f"Linux {read(root, 'proc/sys/kernel/osrelease')}",
        }
    )
    return {**facts, **linux_cpu_facts(root, cpuinfo), **linux_system_facts(root, cpuinfo)}


def parse_kib(text: str, name: str) -> int:
    """Bytes of the line `name:  123 kB`, as /proc/meminfo and /proc/self/status write them."""
    match = re.search(rf"^{re.escape(name)}:\s+(\d+) kB", text, re.MULTILINE)
    if match is None:
        raise NotKnown(f"the kernel does not say {name}")
    return int(match[1]) * 1024


def parse_cpu_model(cpuinfo: str) -> str:
    """The processor's name; ARM kernels give only numbers."""
    first = cpuinfo_blocks(cpuinfo)[0]
    for key in ("model name", "cpu model", "cpu"):  # x86; MIPS; POWER
        if first.get(key):
            return " ".join(first[key].split())
    if "CPU part" in first:
        return f"ARM implementer {first.get('CPU implementer', '?')} part {first['CPU part']}"
    raise NotKnown("/proc/cpuinfo names no model")


def parse_threads(cpuinfo: str) -> int:
    """Hardware threads."""
    return len(cpuinfo_blocks(cpuinfo))


def parse_cores(cpuinfo: str) -> int:
    """Physical cores, where the kernel tells which threads share one (x86)."""
    cores = {(b.get("physical id"), b.get("core id")) for b in cpuinfo_blocks(cpuinfo)}
    if any(None in core for core in cores):
        raise NotKnown("/proc/cpuinfo does not tell cores from threads")
    return len(cores)


def parse_flags(cpuinfo: str) -> list[str]:
    """Those of the processor's flags that matter here, sorted."""
    first = cpuinfo_blocks(cpuinfo)[0]
    flags = first.get("flags") or first.get("Features")
    if flags is None:
        raise NotKnown("/proc/cpuinfo lists no flags")
    return sorted(_FLAGS.intersection(flags.split()))


def parse_microcode(cpuinfo: str) -> str:
    """Revision of the microcode, such as 0xd0003a5."""
    revision = cpuinfo_blocks(cpuinfo)[0].get("microcode")
    if revision is None:
        raise NotKnown("/proc/cpuinfo does not say")
    return revision


def parse_allowed(status: str) -> int:
    """Threads in /proc/self/status' Cpus_allowed_list: `0-3,8` are 5."""
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)", status, re.MULTILINE)
    if match is None:
        raise NotKnown("/proc/self/status does not say")
    return count_cpus(match[1])


def parse_size(text: str) -> int:
    """Bytes of a cache's size: `48K`, `32768K`, `1M`."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise NotKnown(f"unknown size {text!r}")
    return int(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]]


def parse_os_release(text: str) -> str:
    """The system's name and version, such as `Debian GNU/Linux 12 (bookworm)`."""
    match = re.search(r"^PRETTY_NAME=(\"?)(.*)\1$", text, re.MULTILINE)
    if match is None:
        raise NotKnown("/etc/os-release has no PRETTY_NAME")
    return match[2]


def parse_cgroups(text: str) -> dict[str, str]:
    """Where this process is in each hierarchy: controller -> path; `""` is version 2."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path.strip("/")
    return paths


def _cores(root: Path, cpuinfo: Callable[[], str]) -> int:
    try:
        return parse_cores(cpuinfo())
    except NotKnown:
        return len(contents(root, f"{CPU}/cpu[0-9]*/topology/thread_siblings_list"))


def _caches(root: Path) -> dict[str, int]:
    sizes = {}
    for path in paths(root, f"{CPU}/cpu0/cache/index*"):
        folder = str(path.relative_to(root))
        kind = {"Data": "d", "Instruction": "i"}.get(read(root, f"{folder}/type"), "")
        sizes[f"L{read(root, f'{folder}/level')}{kind}"] = parse_size(read(root, f"{folder}/size"))
    return sizes


def _cgroup_memory(root: Path) -> int:
    """The lowest limit on the way up from this process' cgroup."""
    texts = [read(root, path) for path in _limits(root, "memory", "memory.max", "limit_in_bytes")]
    limits = [int(text) for text in texts if text != "max"]
    if not limits or min(limits) >= _V1_UNLIMITED:
        raise NotKnown("no limit is set")
    return min(limits)


def _cgroup_cpus(root: Path) -> float:
    """The lowest quota, in CPUs: quota over period, which version 1 keeps in two files."""
    quotas = []
    for path in _limits(root, "cpu", "cpu.max", "cfs_quota_us"):
        quota, _, period = read(root, path).partition(" ")
        if quota not in ("max", "-1"):
            period = period or read(root, path.replace("quota", "period"))
            quotas.append(int(quota) / int(period))
    if not quotas:
        raise NotKnown("no limit is set")
    return round(min(quotas), 2)


def _limits(root: Path, controller: str, v2: str, v1: str) -> list[str]:
    """The files that may limit this process, of cgroups version 2 and 1."""
    paths = parse_cgroups(read(root, "proc/self/cgroup"))
    files = []
    for mount, path, name in (
        ("sys/fs/cgroup", paths.get(""), v2),
        (f"sys/fs/cgroup/{controller}", paths.get(controller), f"{controller}.{v1}"),
    ):
        if path is not None:
            # In a container the path may be the host's, with only the mount's own files in sight.
            folders = (Path(path), *Path(path).parents)
            files += [f"{mount}/{folder / name}" for folder in folders]
    return [path for path in files if (root / path).is_file()]
