"""PyTorch's own words about its build, recorded, and what is in force in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.engines import torch_facts as subject
from harness.engines.rwkv_engine import RwkvEngine
from harness.engines.torch_engine import TorchEngine
from harness.engines.torch_facts import parse_build, parse_cudnn, parse_parallel, torch_facts
from harness.machine.declared import ENGINE_FACTS, FACTS
from harness.machine.kinds import is_unavailable

RECORDED = Path(__file__).parent / "recorded"
SILENT = {"unavailable": "the build does not say"}


def recorded(name):
    return (RECORDED / name).read_text(encoding="utf-8")


def test_a_build_with_cuda():
    facts = parse_build(recorded("torch-2.0.1-cu117-build"))
    assert facts["torch_compiler"] == "GCC 9.3"
    assert (facts["torch_blas"], facts["torch_mkl"]) == ("mkl", "2022.2")
    assert (facts["torch_onednn"], facts["torch_openmp"]) == ("2.7.3", "201511")
    assert facts["torch_cpu_capability"] == "AVX2"
    assert facts["torch_cxx_flags"] == ["-O2", "-fno-math-errno", "-fno-trapping-math"]
    build = facts["torch_build"]
    assert (build["USE_CUDA"], build["PERF_WITH_AVX512"], build["BUILD_TYPE"]) == (
        *("ON", "1", "Release"),
    )


def test_a_newer_build_for_the_cpu():
    facts = parse_build(recorded("torch-2.13-cpu-build"))
    assert (facts["torch_compiler"], facts["torch_mkl"]) == ("GCC 13.3", "2024.2")
    assert facts["torch_onednn"] == "3.12.0"
    assert facts["torch_build"]["USE_CUDA"] == "0"


def test_a_build_for_macos_has_no_mkl():
    facts = parse_build(recorded("torch-2.2-macos-build"))
    assert (facts["torch_compiler"], facts["torch_blas"]) == ("clang 14.0.0", "accelerate")
    assert facts["torch_cpu_capability"] == "NO AVX"
    assert facts["torch_mkl"] == facts["torch_openmp"] == facts["torch_onednn"] == SILENT


@pytest.mark.parametrize("name", sorted(p.name for p in RECORDED.glob("*-build")))
def test_no_folder_of_the_build_is_a_fact(name):
    assert "/" not in json.dumps(parse_build(recorded(name)))


def test_a_build_that_says_nothing_has_reasons():
    facts = {**parse_build(""), **parse_parallel("")}
    assert all(value == SILENT for value in facts.values())


def test_threads_of_the_libraries():
    linux = parse_parallel(recorded("torch-2.0.1-cu117-parallel"))
    assert linux == {"parallel_backend": "OpenMP", "omp_max_threads": 1, "mkl_max_threads": 1}
    mac = parse_parallel(recorded("torch-2.2-macos-parallel"))
    assert mac["parallel_backend"] == "native thread pool"
    assert mac["omp_max_threads"] == mac["mkl_max_threads"] == SILENT


@pytest.mark.parametrize("version, text", [(8500, "8.5.0"), (8902, "8.9.2"), (90100, "9.1.0")])
def test_cudnn(version, text):
    assert parse_cudnn(version) == text


@pytest.mark.parametrize("engine", [TorchEngine, RwkvEngine])
def test_every_fact_is_declared_and_of_its_kind(engine):
    facts = engine().facts()
    assert json.loads(json.dumps(facts)) == facts
    assert set(facts) <= set(ENGINE_FACTS)
    assert set(ENGINE_FACTS) - set(facts) <= {"rwkv", "rwkv_switches"}
    wrong = {
        name: value
        for name, value in facts.items()
        if not is_unavailable(value) and not FACTS[name].kind.accepts(value)
    }
    assert wrong == {}


def test_this_process_says_what_is_in_force(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(torch, "get_num_interop_threads", lambda: 7)
    facts = torch_facts()
    assert facts["torch_switches"]["cudnn_benchmark"] is True
    assert facts["torch_switches"]["default_dtype"] == "float32"
    assert (facts["threads_in_force"], facts["interop_threads"]) == (5, 7)
    assert torch.version.cuda is not None or "unavailable" in facts["torch_cuda_archs"]
    assert not torch.cuda.is_initialized()


def test_a_switch_that_cannot_be_read_has_its_reason(monkeypatch):
    def fail():
        raise RuntimeError("mix of the legacy\nand new APIs")

    monkeypatch.setitem(subject._SWITCHES, "matmul_tf32", fail)
    assert torch_facts()["torch_switches"]["matmul_tf32"] == {
        "unavailable": "RuntimeError: mix of the legacy and new APIs"
    }


def test_the_official_package_says_what_it_runs_with(monkeypatch):
    monkeypatch.setenv("RWKV_JIT_ON", "0")
    monkeypatch.delenv("RWKV_CUDA_ON", raising=False)
    switches = RwkvEngine().facts()["rwkv_switches"]
    assert switches["RWKV_JIT_ON"] == "0"
    assert "RWKV_CUDA_ON" not in switches


@pytest.mark.skipif(sys.platform != "linux", reason="OpenMP is asked by its name")
def test_a_limit_that_pytorch_does_not_see_is_seen():
    code = (
        "import torch; torch.set_num_threads(3); before = torch.get_num_threads()\n"
        "from harness.engines.torch_facts import torch_facts\n"
        "facts = torch_facts()\n"
        "print(before, facts['threads_in_force'], facts['omp_thread_limit'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_THREAD_LIMIT": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["3", "2", "2"]


@pytest.mark.parametrize("said, limit", [("2", 2), ("", None), ("many", None)])
def test_without_openmp_the_variable_is_believed(said, limit, monkeypatch):
    monkeypatch.setattr(subject.ctypes, "CDLL", lambda _: object())
    monkeypatch.setenv("OMP_THREAD_LIMIT", said)
    found = subject.omp_thread_limit()
    assert found == limit or (limit is None and "OMP_THREAD_LIMIT" in found["unavailable"])
