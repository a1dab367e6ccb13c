"""How Linux runs the processor and is set up: recorded files, and what odd machines have."""

from __future__ import annotations

import pytest

from harness.machine.facts import NotKnown
from harness.machine.linux import linux_facts
from harness.machine.linux_cpu import parse_revision, parse_vendor
from harness.machine.linux_system import parse_huge_pages, parse_switches

CPU = "sys/devices/system/cpu"


@pytest.mark.parametrize(
    "name, vendor, revision",
    [
        ("cpuinfo-xeon", "GenuineIntel", {"family": 6, "model": 143, "stepping": 8}),
        (
            *("cpuinfo-neoverse", "ARM"),
            {"architecture": 8, "part": "0xd40", "variant": "0x1", "revision": 1},
        ),
        ("cpuinfo-power", None, {"version": "2.2 (pvr 004e 1202)"}),
    ],
)
def test_vendor_and_revision(name, vendor, revision, recorded):
    assert parse_revision(recorded(name)) == revision
    if vendor is None:
        with pytest.raises(NotKnown):
            parse_vendor(recorded(name))
    else:
        assert parse_vendor(recorded(name)) == vendor


def test_a_vendor_that_nobody_has_heard_of_keeps_its_number():
    assert parse_vendor("processor : 0\nCPU implementer : 0x99\n") == "ARM implementer 0x99"


def test_intel_names_its_kinds_of_cores(make_root):
    root = make_root(
        {"sys/devices/cpu_core/cpus": "0-11\n", "sys/devices/cpu_atom/cpus": "12-19\n"}
    )
    assert linux_facts(root)["cpu_core_kinds"] == {"performance": 12, "efficiency": 8}


@pytest.mark.parametrize(
    "capacities, kinds",
    [
        ([446, 446, 1024], {"capacity 1024": 1, "capacity 446": 2}),
        ([1024, 1024], {"unavailable": "the kernel tells no kinds of cores apart"}),
    ],
)
def test_arm_tells_cores_apart_by_their_capacity(capacities, kinds, make_root):
    files = {f"{CPU}/cpu{i}/cpu_capacity": f"{one}\n" for i, one in enumerate(capacities)}
    assert linux_facts(make_root(files))["cpu_core_kinds"] == kinds


def test_sockets_come_from_the_topology_where_cpuinfo_does_not_tell(make_root, recorded):
    root = make_root(
        {"proc/cpuinfo": recorded("cpuinfo-neoverse")}
        | {f"{CPU}/cpu{i}/topology/physical_package_id": f"{i}\n" for i in range(2)}
    )
    assert linux_facts(root)["cpu_sockets"] == 2


def test_nothing_isolated_is_said_in_words(make_root):
    assert linux_facts(make_root({f"{CPU}/isolated": "\n"}))["cpu_isolated"] == "none"


def test_only_switches_that_matter_are_kept(recorded):
    switches = parse_switches(recorded("cmdline"))
    assert "mitigations=auto" in switches
    assert "nokaslr" in switches
    assert "mitigations=off" not in switches  # what follows -- is for the first program
    assert not [word for word in switches if "secret" in word or "root" in word]
    assert parse_switches("") == []


def test_huge_pages_that_are_set_aside(recorded):
    assert parse_huge_pages(recorded("meminfo").replace("Total:       0", "Total:      64")) == 64
    with pytest.raises(NotKnown):
        parse_huge_pages("MemTotal: 1 kB\n")


@pytest.mark.parametrize(
    "files, kind",
    [
        ({"run/.containerenv": "name=secret\n"}, "podman"),
        ({".dockerenv": ""}, "docker"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
        ({"proc/self/cgroup": "0::/kubepods/besteffort/pod1234/5678\n"}, "kubepods"),
        ({"proc/self/cgroup": "4:memory:/docker/ab12\n"}, "docker"),
        ({"proc/self/cgroup": "0::/user.slice\n"}, "none"),
    ],
)
def test_containers(files, kind, make_root):
    assert linux_facts(make_root(files))["container"] == kind


@pytest.mark.parametrize(
    "value, personality, said",
    [
        ("2", "00000000", "all"),
        ("1", "00000000", "stack, libraries and mappings"),
        ("0", "00000000", "none"),
        ("2", "00040000", "none, for this process"),
        ("2", "00400000", "all"),  # another bit: READ_IMPLIES_EXEC
        ("2", "nonsense", "all"),
        ("2", None, "all"),
    ],
)
def test_random_addresses(value, personality, said, make_root):
    files = {"proc/sys/kernel/randomize_va_space": f"{value}\n"}
    if personality is not None:
        files["proc/self/personality"] = f"{personality}\n"
    assert linux_facts(make_root(files))["aslr"] == said


@pytest.mark.parametrize("value, said", [("0", "within reason"), ("1", "always"), ("2", "never")])
def test_promises_of_memory(value, said, make_root):
    root = make_root({"proc/sys/vm/overcommit_memory": f"{value}\n"})
    assert linux_facts(root)["overcommit"] == said


def test_the_processors_file_is_read_once(server, monkeypatch):
    asked = []
    read_text = type(server).read_text

    def watched(path, **options):
        asked.append(path.name)
        return read_text(path, **options)

    monkeypatch.setattr(type(server), "read_text", watched)
    linux_facts(server)
    assert asked.count("cpuinfo") == 1
    assert asked.count("meminfo") > 1
