"""Each fact is declared once, and the declarations are complete and used."""

from __future__ import annotations

import re

import pytest
from fake_nvml import no_bindings, nvml

from harness.machine import kinds, probe_machine
from harness.machine.declared import (
    ENGINE_FACTS,
    FACTS,
    GROUPS,
    MACHINE_FACTS,
    about,
    shown,
)
from harness.machine.kinds import is_unavailable
from harness.machine.probe import engine_facts

UNITS = {"_bytes": "B", "_mhz": "MHz", "_w": "W", "_mt_per_s": "MT/s"}
# What others record of machine and build, each with the facts that say it here.
COLLECT_ENV = {
    "torch_version": ["torch", "torch_git"],
    "is_debug_build": ["torch_debug"],
    "cuda_compiled_version": ["torch_cuda"],
    "gcc_version": ["compilers"],
    "clang_version": ["compilers"],
    "cmake_version": ["compilers"],
    "os": ["os"],
    "libc_version": ["libc"],
    "python_version": ["python", "python_compiler"],
    "python_platform": ["kernel", "arch", "libc"],
    "is_cuda_available": ["devices"],
    "cuda_runtime_version": ["compilers"],
    "cuda_module_loading": ["env"],
    "nvidia_driver_version": ["gpu_driver"],
    "nvidia_gpu_models": ["gpus.0.name"],
    "cudnn_version": ["torch_cudnn"],
    "is_xpu_available": ["torch_backends"],
    "pip_version": ["distributions"],
    "pip_packages": ["distributions"],
    "conda_packages": ["distributions"],
    "hip_compiled_version": ["torch_hip"],
    "hip_runtime_version": ["torch_hip"],
    "miopen_runtime_version": ["torch_cudnn"],
    "caching_allocator_config": ["env"],
    "is_xnnpack_available": ["torch_backends"],
    # and of the processor, line by line:
    "Architecture": ["arch"],
    "CPU(s)": ["cpu_threads"],
    "On-line CPU(s) list": ["cpu_allowed", "cpu_isolated"],
    "Vendor ID": ["cpu_vendor"],
    "Model name": ["cpu_model"],
    "CPU family": ["cpu_revision.family"],
    "Model": ["cpu_revision.model"],
    "Stepping": ["cpu_revision.stepping"],
    "Thread(s) per core": ["cpu_threads", "cpu_cores", "cpu_smt"],
    "Core(s) per socket": ["cpu_cores", "cpu_sockets"],
    "Socket(s)": ["cpu_sockets"],
    "Frequency boost": ["cpu_turbo"],
    "CPU max MHz": ["cpu_max_mhz"],
    "CPU min MHz": ["cpu_limits_mhz.lowest"],
    "Flags": ["cpu_flags"],
    "Virtualization": ["virtualisation"],
    "L1d cache": ["cpu_caches_bytes.L1d"],
    "L2 cache": ["cpu_caches_bytes.L2"],
    "L3 cache": ["cpu_caches_bytes.L3"],
    "NUMA node(s)": ["numa_nodes"],
    "Vulnerability": ["cpu_mitigations.spectre_v2"],
}
BENCHEXEC = {
    "os": ["os", "kernel"],
    "cpu_model": ["cpu_model"],
    "cpu_number_of_cores": ["cpu_cores", "cpu_threads"],
    "cpu_max_frequency": ["cpu_max_mhz", "cpu_limits_mhz.highest"],
    "cpu_turboboost": ["cpu_turbo"],
    "memory": ["ram_bytes"],
    "environment": ["env"],
    "toolversion": ["harness", "git_revision"],
    "memlimit": ["cgroup_memory_bytes"],
    "cpuCores": ["cpu_allowed", "cgroup_cpus", "threads"],
}


def is_of_its_kind(name, value):
    return is_unavailable(value) or about(name).kind.accepts(value)


@pytest.mark.parametrize("theirs", [COLLECT_ENV, BENCHEXEC], ids=["collect_env", "BenchExec"])
def test_what_others_record_is_recorded(theirs):
    assert [name for names in theirs.values() for name in names if about(name) is None] == []


def test_collect_env_records_nothing_that_is_not_on_the_list():
    collect_env = pytest.importorskip("torch.utils.collect_env")
    assert set(collect_env.SystemEnv._fields) - {"cpu_info"} <= set(COLLECT_ENV)


def test_nothing_that_names_a_host_or_a_person_is_declared():
    words = r"host|user|serial|uuid|address|mac_|home"
    members = [f"{name}.{m}" for name, one in FACTS.items() for m in one.members]
    assert [name for name in (*FACTS, *members) if re.search(words, name)] == []


def test_units_are_in_the_names():
    every = {**FACTS, **{m: a for one in FACTS.values() for m, a in one.members.items()}}
    assert {"ram_bytes", "power_limit_w", "cpu_max_mhz"} <= set(every)
    for name, one in every.items():
        unit = next((u for end, u in UNITS.items() if name.endswith(end)), None)
        assert one.kind.unit in (unit, "CPU"), name
        assert one.group in GROUPS
        assert set(one.must_match) <= {"speed", "answers", "loading"}


def test_who_gives_a_fact():
    assert set(MACHINE_FACTS) | set(ENGINE_FACTS) < set(FACTS)
    assert not set(MACHINE_FACTS) & set(ENGINE_FACTS)
    assert "threads_in_force" in ENGINE_FACTS
    assert not {"threads", "weights_sha256"} & {*MACHINE_FACTS, *ENGINE_FACTS}


@pytest.mark.parametrize(
    "name, must_match",
    [
        ("cpu_governor", ("speed",)),
        ("gpus.1.power_limit_w", ("speed",)),
        ("torch", ("speed", "answers")),
        ("torch_switches.cudnn_tf32", ("speed", "answers")),
        ("env.OMP_NUM_THREADS", ("speed", "answers")),
        ("questions_sha256", ("answers",)),
        ("weights_disk", ("loading",)),
        ("nix_interpreter", ()),
        ("gpus.0.vbios", ()),
    ],
)
def test_what_must_match_for_a_comparison(name, must_match):
    assert about(name).must_match == must_match


@pytest.mark.parametrize("name", ["", "unheard_of", "unheard_of.of", "gpus.0.flavour"])
def test_of_a_fact_that_is_not_declared_nothing_is_known(name):
    assert about(name) is None
    assert shown(name, True) == "yes"


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("ram_bytes", 24 * 2**30, "24.0 GiB"),
        ("cpu_caches_bytes.L2", 2**20, "1.00 MiB"),
        ("gpus.0.memory_bytes", 2**36, "64.0 GiB"),
        ("cpu_max_mhz", 3800.0, "3,800 MHz"),
        ("cpu_limits_mhz.lowest", 800.0, "800 MHz"),
        ("gpus.0.power_limit_w", 700.0, "700 W"),
        ("gpus.0.pcie_width", 16, "x16"),
        ("ram_speed_mt_per_s", 3200, "3,200 MT/s"),
        ("cgroup_cpus", 2.5, "2.5 CPU"),
        ("cpu_smt", False, "no"),
        ("cpu_flags", ["avx2", "fma"], "avx2, fma"),
        ("distributions_outside", [], "none"),
        ("torch_switches.cudnn_tf32", True, "yes"),
        ("cpu_revision.part", "0xd40", "0xd40"),
        # Of another type than declared, as an old record may have it:
        ("ram_bytes", "much", "much"),
        ("cpu_max_mhz", True, "yes"),
        ("cpu_flags", {"avx2": 1}, '{"avx2": 1}'),
        ("cpu_smt", 1, "1"),
    ],
)
def test_a_fact_is_printed_as_its_declaration_says(name, value, text):
    assert shown(name, value) == text


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (kinds.COUNT, [0, 7], [True, "7", 1.5, None]),
        (kinds.MHZ, [0, 1.5], [True, "1"]),
        (kinds.YES_NO, [True, False], [0, "yes"]),
        (kinds.NAMES, [[], ["a"]], [[1], "a", {}]),
        (kinds.SIZES, [{}, {"L1": 1}, {"L1": {"unavailable": "x"}}], [{"L1": "1"}, [1]]),
        (kinds.OBJECTS, [[], [{"name": "a"}]], [["a"], {}]),
        (kinds.ANY, [None, [], "a"], []),
    ],
)
def test_kinds_know_their_values(kind, good, bad):
    assert [value for value in good if not kind.accepts(value)] == []
    assert [value for value in bad if kind.accepts(value)] == []


@pytest.mark.parametrize("load", [nvml, no_bindings])
def test_all_that_a_server_says_is_of_its_kind(server, load):
    facts = probe_machine(server, platform="linux", environ={}, load=load).facts
    assert {name: v for name, v in facts.items() if not is_of_its_kind(name, v)} == {}
    (gpu,) = facts["gpus"]
    of_gpu = {f"gpus.0.{name}": value for name, value in gpu.items()}
    assert {name: v for name, v in of_gpu.items() if not is_of_its_kind(name, v)} == {}


def test_all_that_this_machine_says_is_of_its_kind():
    facts = probe_machine().facts
    assert {name: v for name, v in facts.items() if not is_of_its_kind(name, v)} == {}


def test_what_an_engine_does_not_say_has_a_reason(monkeypatch):
    said = engine_facts({"rwkv": "0.8", "of_its_own": 1}, "rwkv")
    assert (said["rwkv"], said["of_its_own"]) == ("0.8", 1)
    assert said["torch_mkl"] == {"unavailable": "the rwkv engine does not say"}
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert "switched off" in engine_facts({}, "rwkv")["torch_mkl"]["unavailable"]
