import pytest

from harness.machine import linux
from harness.machine.facts import NotKnown
from harness.machine.linux import linux_facts


def test_a_server_says_everything(server):
    facts = linux_facts(server)
    assert facts == {
        "cpu_model": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        "cpu_vendor": "GenuineIntel",
        "cpu_revision": {"family": 6, "model": 143, "stepping": 8},
        "cpu_sockets": 1,
        "cpu_core_kinds": {"unavailable": "the kernel tells no kinds of cores apart"},
        "cpu_smt": True,
        "cpu_isolated": "2-3",
        "cpu_limits_mhz": {"lowest": 800.0, "highest": 3800.0},
        "cpu_driver": "intel_pstate",
        "cpu_energy_preference": "performance",
        "cpu_mitigations": {"spectre_v2": "Mitigation: Enhanced / Automatic IBRS"},
        "power_profile": "balanced",
        "cpu_cores": 2,
        "cpu_threads": 4,
        "cpu_allowed": 8,
        "cpu_flags": [
            "amx_bf16", "amx_int8", "amx_tile", "avx", "avx2", "avx512_bf16", "avx512_fp16",
            "avx512_vnni", "avx512bw", "avx512f", "avx_vnni", "f16c", "fma", "sse4_2",
        ],
        "cpu_caches_bytes": {"L1d": 49152, "L1i": 32768, "L2": 2097152, "L3": 110100480},
        "cpu_max_mhz": 3800.0,
        "cpu_governor": "performance and powersave",
        "cpu_turbo": False,
        "cpu_microcode": "0xffffffff",
        "numa_nodes": 2,
        "numa_balancing": True,
        "ram_bytes": 65806832 * 1024,
        "swap_bytes": 2097148 * 1024,
        "ram_type": "DDR4",
        "ram_modules": 4,
        "ram_speed_mt_per_s": 2933,
        "swappiness": 60,
        "overcommit": "within reason",
        "huge_pages": "madvise",
        "huge_pages_defrag": "defer+madvise",
        "huge_pages_reserved": 0,
        "cgroup_memory_bytes": 8 * 2**30,
        "cgroup_cpus": 2.5,
        "os": "Ubuntu 22.04.4 LTS",
        "kernel": "Linux 6.5.0-1018-gcp",
        "kernel_build": "#18~22.04.1-Ubuntu SMP Tue Jan 9 18:41:26 UTC 2024",
        "kernel_switches": [
            "isolcpus=2-3", "nohz_full=2-3", "intel_pstate=passive", "mitigations=auto", "nokaslr",
        ],
        "virtualisation": "virtual machine (Google)",
        "container": "none",
        "aslr": "all",
        "clock_source": "kvm-clock",
    }  # fmt: skip


def test_an_empty_file_system_gives_a_reason_for_every_fact(tmp_path):
    facts = linux_facts(tmp_path)
    assert "cpu_model" in facts
    assert all(value.keys() == {"unavailable"} for value in facts.values())
    assert facts["ram_bytes"]["unavailable"] == "/proc/meminfo: No such file or directory"


@pytest.mark.parametrize("text", ["", "\0\0", "nonsense", "a: b\n" * 3, "processor : 0\n"])
def test_files_full_of_nonsense_raise_nothing(server, text):
    for path in [path for path in server.rglob("*") if path.is_file()]:
        path.write_text(text, encoding="utf-8")
    facts = linux_facts(server)
    assert facts["ram_bytes"] == {"unavailable": "the kernel does not say MemTotal"}


def test_arm_processors_have_numbers_and_features(recorded):
    cpuinfo = recorded("cpuinfo-neoverse")
    assert linux.parse_cpu_model(cpuinfo) == "ARM implementer 0x41 part 0xd40"
    assert linux.parse_threads(cpuinfo) == 2
    assert {"asimd", "sve", "bf16", "i8mm"} <= set(linux.parse_flags(cpuinfo))
    with pytest.raises(NotKnown):
        linux.parse_cores(cpuinfo)


def test_cores_come_from_the_topology_where_cpuinfo_does_not_tell(make_root, recorded):
    cpu = "sys/devices/system/cpu"
    root = make_root(
        {"proc/cpuinfo": recorded("cpuinfo-neoverse")}
        | {f"{cpu}/cpu{i}/topology/thread_siblings_list": f"{i}\n" for i in range(2)}
    )
    assert linux_facts(root)["cpu_cores"] == 2


def test_power_closes_with_a_block_about_the_board(recorded):
    assert linux.parse_threads(recorded("cpuinfo-power")) == 2
    assert linux.parse_cpu_model(recorded("cpuinfo-power")) == "POWER9, altivec supported"


@pytest.mark.parametrize(
    "cpus, count", [("0", 1), ("0-3", 4), ("0-3,8", 5), ("0,2,4-5", 4)], ids=str
)
def test_allowed_cpus_are_counted(cpus, count):
    assert linux.parse_allowed(f"Name:\tx\nCpus_allowed_list:\t{cpus}\n") == count


def test_version_1_limits_are_read_with_their_own_period(make_root):
    root = make_root(
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n0::/\n",
            # Inside the container only the mount's own files are in sight.
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "75000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
        }
    )
    facts = linux_facts(root)
    assert facts["cgroup_memory_bytes"] == 2**30
    assert facts["cgroup_cpus"] == 1.5


def test_a_cgroup_without_limits_says_so(make_root):
    root = make_root(
        {
            "proc/self/cgroup": "4:memory:/\n1:cpu:/\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        }
    )
    facts = linux_facts(root)
    assert facts["cgroup_memory_bytes"] == {"unavailable": "no limit is set"}
    assert facts["cgroup_cpus"] == {"unavailable": "no limit is set"}


def test_amd_says_turbo_as_boost(make_root):
    assert linux_facts(make_root({"sys/devices/system/cpu/cpufreq/boost": "1\n"}))["cpu_turbo"]


def test_bare_metal_is_told_from_a_virtual_machine(make_root, recorded):
    cpuinfo = recorded("cpuinfo-xeon").replace(" hypervisor", "")
    root = make_root({"proc/cpuinfo": cpuinfo, "sys/class/dmi/id/sys_vendor": "Dell Inc.\n"})
    assert linux_facts(root)["virtualisation"] == "none"


def test_of_several_limits_on_the_way_up_the_lowest_holds(make_root):
    files = {"proc/self/cgroup": "0::/a/b\n"}
    for folder, memory, cpu in (("a", 2**30, 150_000), ("a/b", 2**31, 400_000)):
        files[f"sys/fs/cgroup/{folder}/memory.max"] = f"{memory}\n"
        files[f"sys/fs/cgroup/{folder}/cpu.max"] = f"{cpu} 100000\n"
    facts = linux_facts(make_root(files))
    assert (facts["cgroup_memory_bytes"], facts["cgroup_cpus"]) == (2**30, 1.5)
