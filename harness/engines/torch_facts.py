"""What PyTorch says of itself in this process: its build, its switches, and the threads in force.

For the record, by names that `harness/machine/declared.py` declares. Each fact is a plain JSON
value, or `{"unavailable": why}`; nothing here raises, starts CUDA or changes a setting. The
`parse_` functions are pure.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

Facts = dict[str, Any]

# Settings of the build that decide which kernels there are.
_BUILD = re.compile(r"\b(BLAS_INFO|LAPACK_INFO|BUILD_TYPE|PERF_WITH_\w+|USE_\w+)=([^,\s]*)")
# Compiler flags that decide what the kernels do with numbers.
_CXX_FLAG = re.compile(r"-(?:O\S*|m\S+|f(?:no-)?(?:fast-math|math-errno|trapping-math))\Z")
_NO_LIMIT = 2**31 - 1  # of OpenMP's threads, where nothing limits them
# Switches of PyTorch that change results, or which kernel runs.
_SWITCHES: Mapping[str, Callable[[], Any]] = {
    "matmul_precision": torch.get_float32_matmul_precision,
    "matmul_tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
    "matmul_fp16_reduction": lambda: (
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    ),
    "matmul_bf16_reduction": lambda: (
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    ),
    "cudnn_tf32": lambda: torch.backends.cudnn.allow_tf32,
    "cudnn_benchmark": lambda: torch.backends.cudnn.benchmark,
    "cudnn_deterministic": lambda: torch.backends.cudnn.deterministic,
    "deterministic_algorithms": torch.are_deterministic_algorithms_enabled,
    "onednn": lambda: torch.backends.mkldnn.enabled,
    "jit": lambda: torch.jit._state._enabled.enabled,  # noqa: SLF001 - there is no other way
    "default_dtype": lambda: str(torch.get_default_dtype()).removeprefix("torch."),
}


def torch_facts() -> Facts:
    """All facts of PyTorch, as they are in this process now."""
    built, parallel = torch.__config__.show(), torch.__config__.parallel_info()
    asked: Mapping[str, Callable[[], Any]] = {
        "torch_backends": _backends,
        "torch_cudnn": _cudnn,
        "torch_cuda_archs": _cuda_archs,
        "torch_switches": _switches,
        "interop_threads": torch.get_num_interop_threads,
        "omp_thread_limit": omp_thread_limit,
        "threads_in_force": _threads_in_force,
    }
    facts = {**parse_build(built), **parse_parallel(parallel)}
    return {**facts, **{name: _ask(question) for name, question in asked.items()}}


def parse_build(text: str) -> Facts:
    """The facts in what `torch.__config__.show()` says; paths of the build are left out."""
    settings = dict(_BUILD.findall(text))
    flags = re.search(r"\bCXX_FLAGS=(.*?)(?:, [A-Z_]+=|$)", text, re.MULTILINE)
    return {
        "torch_compiler": _compiler(text),
        "torch_blas": settings.pop("BLAS_INFO", None) or _unavailable("the build does not say"),
        "torch_mkl": _found(r"Math Kernel Library Version ([\d.]+)", text),
        "torch_onednn": _found(r"MKL-DNN v(\S+)", text),
        "torch_openmp": _found(r"^\s*- OpenMP (\d+)", text),
        "torch_cpu_capability": _found(r"CPU capability usage: (.+)$", text),
        "torch_cxx_flags": _unavailable("the build does not say")
        if flags is None
        else list(dict.fromkeys(word for word in flags[1].split() if _CXX_FLAG.match(word))),
        "torch_build": settings or _unavailable("the build does not say"),
    }


def parse_parallel(text: str) -> Facts:
    """The facts in what `torch.__config__.parallel_info()` says."""
    return {
        "parallel_backend": _found(r"^ATen parallel backend: (.+)$", text),
        "omp_max_threads": _found_number(r"omp_get_max_threads\(\) : (\d+)", text),
        "mkl_max_threads": _found_number(r"mkl_get_max_threads\(\) : (\d+)", text),
    }


def parse_cudnn(version: int) -> str:
    """8500 -> 8.5.0, and from release 9 on 90100 -> 9.1.0."""
    major = 10_000 if version >= 90_000 else 1_000
    return f"{version // major}.{version % major // 100}.{version % 100}"


def omp_thread_limit() -> int | dict[str, str]:
    """The most threads that OpenMP may use; OMP_THREAD_LIMIT sets it, PyTorch does not tell."""
    try:
        limit = int(ctypes.CDLL(None).omp_get_thread_limit())
    except (AttributeError, OSError):  # no OpenMP, or one whose names cannot be seen
        said = os.environ.get("OMP_THREAD_LIMIT", "")
        if not said.isdecimal():
            return _unavailable("OpenMP cannot be asked, and OMP_THREAD_LIMIT is not set")
        limit = int(said)
    return limit if 0 < limit < _NO_LIMIT else _unavailable("no limit is set")


def _threads_in_force() -> int:
    """Threads that one operation is split among: those asked for, within OpenMP's limit."""
    limit, threads = omp_thread_limit(), torch.get_num_threads()
    return min(threads, limit) if isinstance(limit, int) else threads


def _switches() -> Facts:
    return {name: _ask(question) for name, question in _SWITCHES.items()}


def _backends() -> list[str]:
    asked: Mapping[str, Callable[[], Any]] = {
        "cuda": torch.backends.cuda.is_built,
        "mkl": torch.backends.mkl.is_available,
        "mps": torch.backends.mps.is_built,
        "onednn": torch.backends.mkldnn.is_available,
        "openmp": torch.backends.openmp.is_available,
        "xnnpack": torch._C._is_xnnpack_enabled,  # noqa: SLF001
        "xpu": lambda: torch.xpu._is_compiled(),  # noqa: PLW0108, SLF001 - only a newer torch has it
    }
    return [name for name, question in asked.items() if _ask(question) is True]


def _cudnn() -> str | dict[str, str]:
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return _unavailable("built without cuDNN") if version is None else parse_cudnn(version)


def _cuda_archs() -> list[str] | dict[str, str]:
    ask = getattr(torch._C, "_cuda_getArchFlags", None)  # noqa: SLF001 - the public way starts CUDA
    return _unavailable("built without CUDA") if ask is None else str(ask() or "").split()


def _compiler(text: str) -> str | dict[str, str]:
    clang = _found(r"^\s*- (clang \S+)", text)  # which passes itself off as an old GCC besides
    return clang if isinstance(clang, str) else _found(r"^\s*- ((?:GCC|MSVC|ICC) \S+)", text)


def _found(pattern: str, text: str) -> str | dict[str, str]:
    match = re.search(pattern, text, re.MULTILINE)
    return _unavailable("the build does not say") if match is None else match[1].strip()


def _found_number(pattern: str, text: str) -> int | dict[str, str]:
    found = _found(pattern, text)
    return int(found) if isinstance(found, str) else found


def _ask(question: Callable[[], Any]) -> Any:
    """The answer, or why there is none: private names and old switches come and go."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - whatever it is, the measurement goes on
        return _unavailable(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _unavailable(reason: str) -> dict[str, str]:
    return {"unavailable": reason}
