from pathlib import Path

import pytest

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def recorded():
    """The text of a file of recorded/, as a machine wrote it."""
    return lambda name: (RECORDED / name).read_text(encoding="utf-8")


@pytest.fixture
def make_root(tmp_path):
    """A file system with these files: path -> text."""

    def make(files):
        for path, text in files.items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        return tmp_path

    return make


@pytest.fixture
def server(make_root, recorded):
    """A virtual x86 server with an H100, inside a container with limits (cgroups version 2)."""
    cpu = "sys/devices/system/cpu"
    caches = [(1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K")]
    caches += [(3, "Unified", "107520K")]
    files = {
        "proc/cpuinfo": recorded("cpuinfo-xeon"),
        "proc/meminfo": recorded("meminfo"),
        "proc/self/status": recorded("status"),
        "proc/self/cgroup": "0::/jobs/one\n",
        "proc/sys/kernel/osrelease": "6.5.0-1018-gcp\n",
        "etc/os-release": recorded("os-release"),
        "etc/hostname": "secret-host\n",
        f"{cpu}/cpufreq/policy0/scaling_governor": "performance\n",
        f"{cpu}/cpufreq/policy1/scaling_governor": "performance\n",
        f"{cpu}/cpufreq/policy2/scaling_governor": "powersave\n",
        f"{cpu}/cpufreq/policy0/scaling_driver": "intel_pstate\n",
        f"{cpu}/cpufreq/policy0/scaling_min_freq": "800000\n",
        f"{cpu}/cpufreq/policy0/scaling_max_freq": "3000000\n",
        f"{cpu}/cpufreq/policy1/scaling_min_freq": "900000\n",
        f"{cpu}/cpufreq/policy1/scaling_max_freq": "3800000\n",
        f"{cpu}/cpufreq/policy0/energy_performance_preference": "performance\n",
        f"{cpu}/smt/active": "1\n",
        f"{cpu}/isolated": "2-3\n",
        f"{cpu}/vulnerabilities/meltdown": "Not affected\n",
        f"{cpu}/vulnerabilities/spectre_v2": "Mitigation: Enhanced / Automatic IBRS\n",
        "sys/firmware/acpi/platform_profile": "balanced\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock\n",
        "proc/cmdline": recorded("cmdline"),
        "proc/self/personality": "00000000\n",
        "proc/sys/kernel/numa_balancing": "1\n",
        "proc/sys/kernel/randomize_va_space": "2\n",
        "proc/sys/kernel/version": "#18~22.04.1-Ubuntu SMP Tue Jan 9 18:41:26 UTC 2024\n",
        "proc/sys/vm/overcommit_memory": "0\n",
        "proc/sys/vm/swappiness": "60\n",
        f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "3800000\n",
        f"{cpu}/intel_pstate/no_turbo": "1\n",
        "sys/devices/system/node/node0/cpulist": "0-3\n",
        "sys/devices/system/node/node1/cpulist": "\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/kernel/mm/transparent_hugepage/defrag": "always defer [defer+madvise] never\n",
        "sys/class/dmi/id/sys_vendor": "Google\n",
        "sys/fs/cgroup/jobs/memory.max": "8589934592\n",
        "sys/fs/cgroup/jobs/one/memory.max": "max\n",
        "sys/fs/cgroup/jobs/cpu.max": "max 100000\n",
        "sys/fs/cgroup/jobs/one/cpu.max": "250000 100000\n",
        "proc/driver/nvidia/version": recorded("nvidia-version"),
        "proc/driver/nvidia/gpus/0000:04:00.0/information": recorded("nvidia-information"),
        "dev/nvidia0": "",
    }
    for i, (level, kind, size) in enumerate(caches):
        folder = f"{cpu}/cpu0/cache/index{i}"
        files |= {f"{folder}/level": f"{level}\n", f"{folder}/type": f"{kind}\n"}
        files[f"{folder}/size"] = f"{size}\n"
    root = make_root(files)
    tables = root / "sys/firmware/dmi/tables"
    tables.mkdir(parents=True)
    (tables / "DMI").write_bytes(bytes.fromhex(recorded("smbios-four-modules.hex")))
    return root
