import subprocess

import pytest

from harness.machine.darwin import darwin_facts, facts_from_sysctl, parse_swap, parse_sysctl


def test_apple_silicon(make_root, recorded):
    root = make_root(
        {"System/Library/CoreServices/SystemVersion.plist": recorded("SystemVersion.plist")}
    )
    facts = darwin_facts(root, lambda: recorded("sysctl-m2"))
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

    facts = darwin_facts(tmp_path, fail)
    assert all(value.keys() == {"unavailable"} for value in facts.values())
