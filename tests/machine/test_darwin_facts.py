import subprocess

import pytest

from harness.machine.darwin import (
    darwin_facts,
    facts_from_sysctl,
    parse_gpu_cores,
    parse_swap,
    parse_sysctl,
)
from harness.machine.declared import ENGINE_FACTS, FACTS, MACHINE_FACTS
from harness.machine.facts import NotKnown
from harness.machine.kinds import is_unavailable
from harness.machine.linux import linux_facts

REGISTRY = '  "gpu-core-count" = 16\n'


def test_apple_silicon(make_root, recorded):
    root = make_root(
        {"System/Library/CoreServices/SystemVersion.plist": recorded("SystemVersion.plist")}
    )
    facts = darwin_facts(root, lambda: recorded("sysctl-m2"), lambda: REGISTRY)
    assert facts["apple_gpu_cores"] == 16
    assert facts["cpu_model"] == "Apple M2 Pro"
    assert (facts["cpu_cores"], facts["cpu_threads"]) == (10, 10)
    assert facts["ram_bytes"] == 16 * 2**30
    assert facts["swap_bytes"] == 2**30
    assert facts["cpu_flags"] == ["asimd", "asimddp", "asimdhp", "bf16", "i8mm"]
    assert facts["cpu_caches_bytes"] == {"L1d": 65536, "L1i": 131072, "L2": 16777216}
    assert facts["os"] == "macOS 14.5"
    assert facts["kernel"] == "Darwin 23.5.0"
    assert facts["virtualisation"] == "none"
    assert facts["cgroup_cpus"] == {"unavailable": "macOS has no cgroups"}
    assert "unavailable" in facts["cpu_max_mhz"]


def test_intel(recorded):
    facts = facts_from_sysctl(parse_sysctl(recorded("sysctl-intel")))
    assert (facts["cpu_cores"], facts["cpu_threads"]) == (6, 12)
    assert facts["cpu_flags"] == ["avx", "avx2", "f16c", "fma", "sse4_2"]
    assert facts["cpu_caches_bytes"]["L3"] == 9437184
    assert facts["cpu_max_mhz"] == 2600.0
    assert facts["cpu_microcode"] == "246"
    assert facts["cpu_smt"] is True


def test_rosetta_is_said(recorded):
    text = recorded("sysctl-m2").replace("proc_translated: 0", "proc_translated: 1")
    assert facts_from_sysctl(parse_sysctl(text))["virtualisation"].startswith("Rosetta 2")


@pytest.mark.parametrize("text", ["total = 1024.00M  used = 0", "total = 1024,00M  used = 0"])
def test_swap_is_read_with_either_decimal_mark(text):
    assert parse_swap(text) == 2**30


@pytest.mark.parametrize(
    "error", [FileNotFoundError("sysctl"), subprocess.TimeoutExpired("sysctl", 5)]
)
def test_without_sysctl_every_fact_has_its_reason(tmp_path, error):
    def fail():
        raise error

    facts = darwin_facts(tmp_path, fail, fail)
    assert all(value.keys() == {"unavailable"} for value in facts.values())


def test_kinds_of_cores_and_the_gpu_of_apples_processors(tmp_path, recorded):
    facts = darwin_facts(
        tmp_path, lambda: recorded("sysctl-m1-max-levels"), lambda: recorded("ioreg-m1-max")
    )
    assert facts["cpu_core_kinds"] == {"Performance": 8, "Efficiency": 2}
    assert facts["apple_gpu_cores"] == 32
    assert facts["cpu_vendor"] == "Apple"
    assert facts["cpu_revision"] == {"type": 16777228, "family": 458787763}
    assert (facts["cpu_sockets"], facts["cpu_smt"]) == (1, False)
    assert facts["cpu_flags"] == ["asimd", "asimddp", "asimdfhm", "asimdhp"]
    assert facts["kernel_build"] == "23F79"


def test_intel_says_vendor_stepping_and_clocks():
    said = parse_sysctl(
        "machdep.cpu.vendor: GenuineIntel\nmachdep.cpu.family: 6\nmachdep.cpu.model: 158\n"
        "machdep.cpu.stepping: 10\nhw.cpufrequency_min: 800000000\n"
        "hw.cpufrequency_max: 2600000000\nhw.nperflevels: 1\nhw.perflevel0.logicalcpu: 12\n"
    )
    facts = facts_from_sysctl(said)
    assert facts["cpu_vendor"] == "GenuineIntel"
    assert facts["cpu_revision"] == {"family": 6, "model": 158, "stepping": 10}
    assert facts["cpu_limits_mhz"] == {"lowest": 800.0, "highest": 2600.0}
    assert facts["cpu_core_kinds"] == {"unavailable": "sysctl tells no kinds of cores apart"}


def test_a_mac_without_an_apple_gpu():
    with pytest.raises(NotKnown, match="no Apple GPU"):
        parse_gpu_cores("")


def test_what_linux_says_a_mac_says_or_gives_a_reason_for(tmp_path, recorded, server):
    facts = darwin_facts(tmp_path, lambda: recorded("sysctl-m2"), lambda: REGISTRY)
    assert set(linux_facts(server)) <= set(facts)
    assert set(facts) <= set(MACHINE_FACTS) - set(ENGINE_FACTS)
    wrong = {
        name: value
        for name, value in facts.items()
        if not is_unavailable(value) and not FACTS[name].kind.accepts(value)
    }
    assert wrong == {}
