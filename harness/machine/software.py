"""Facts of the software: Python, libraries, environment, and which harness this is.

Versions come from the libraries' metadata; none is imported. Paths of the file system are never
facts. Where the software comes from is in `provenance.py`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import harness
from harness.machine.facts import Facts, NotKnown, collect, unavailable
from harness.machine.torch_version import torch_version_facts

_LIBRARIES = ("numpy", "tokenizers", "safetensors")

# Read by what computes: OpenMP, BLAS and oneDNN, allocators, CUDA and Metal, PyTorch, Python, rwkv.
_VARIABLES = """
    OMP_DISPLAY_ENV OMP_DYNAMIC OMP_MAX_ACTIVE_LEVELS OMP_NESTED OMP_NUM_THREADS OMP_PLACES
    OMP_PROC_BIND OMP_SCHEDULE OMP_STACKSIZE OMP_THREAD_LIMIT OMP_WAIT_POLICY GOMP_CPU_AFFINITY
    GOMP_SPINCOUNT KMP_AFFINITY KMP_BLOCKTIME KMP_HW_SUBSET KMP_LIBRARY KMP_SETTINGS KMP_TPAUSE
    BLIS_NUM_THREADS MKL_CBWR MKL_DEBUG_CPU_TYPE MKL_DOMAIN_NUM_THREADS MKL_DYNAMIC
    MKL_ENABLE_INSTRUCTIONS MKL_INTERFACE_LAYER MKL_NUM_THREADS MKL_THREADING_LAYER
    NUMEXPR_NUM_THREADS OPENBLAS_CORETYPE OPENBLAS_NUM_THREADS OPENBLAS_VERBOSE
    VECLIB_MAXIMUM_THREADS DNNL_DEFAULT_FPMATH_MODE DNNL_MAX_CPU_ISA DNNL_CPU_ISA_HINTS
    DNNL_PRIMITIVE_CACHE_CAPACITY DNNL_VERBOSE ONEDNN_DEFAULT_FPMATH_MODE ONEDNN_MAX_CPU_ISA
    ONEDNN_VERBOSE RAYON_NUM_THREADS TOKENIZERS_PARALLELISM
    GLIBC_TUNABLES LD_BIND_NOW LD_PRELOAD DYLD_INSERT_LIBRARIES MALLOC_ARENA_MAX MALLOC_CONF
    MALLOC_MMAP_THRESHOLD_ MALLOC_PERTURB_ MALLOC_TOP_PAD_ MALLOC_TRIM_THRESHOLD_ TCMALLOC_CONFIG
    CUBLAS_WORKSPACE_CONFIG CUBLASLT_WORKSPACE_SIZE CUDA_DEVICE_MAX_CONNECTIONS CUDA_DEVICE_ORDER
    CUDA_FORCE_PTX_JIT CUDA_LAUNCH_BLOCKING CUDA_MODULE_LOADING CUDA_VISIBLE_DEVICES
    CUDA_MPS_ACTIVE_THREAD_PERCENTAGE HIP_VISIBLE_DEVICES HSA_OVERRIDE_GFX_VERSION
    NVIDIA_TF32_OVERRIDE NVIDIA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES
    ATEN_CPU_CAPABILITY PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF PYTORCH_ENABLE_MPS_FALLBACK
    PYTORCH_HIP_ALLOC_CONF PYTORCH_JIT PYTORCH_MPS_FAST_MATH PYTORCH_MPS_HIGH_WATERMARK_RATIO
    PYTORCH_MPS_LOW_WATERMARK_RATIO PYTORCH_MPS_PREFER_METAL PYTORCH_NO_CUDA_MEMORY_CACHING
    PYTORCH_NVML_BASED_CUDA_CHECK PYTORCH_TUNABLEOP_ENABLED TORCHDYNAMO_DISABLE
    TORCHINDUCTOR_MAX_AUTOTUNE TORCH_ALLOW_TF32_CUBLAS_OVERRIDE TORCH_BLAS_PREFER_CUBLASLT
    TORCH_COMPILE_DISABLE TORCH_CUDA_ARCH_LIST TORCH_CUDNN_V8_API_DISABLED
    TORCH_CUDNN_V8_API_ENABLED TORCH_LINALG_PREFER_CUSOLVER TORCH_USE_CUDA_DSA
    PYTHONDEVMODE PYTHONHASHSEED PYTHONMALLOC PYTHONOPTIMIZE PYTHONUNBUFFERED PYTHONUTF8
    PYTHON_GIL PYTHON_JIT
    RWKV_CUDA_ON RWKV_DML_ON RWKV_JIT_ON RWKV_RESCALE_LAYER RWKV_V7_ON
"""
_WITH_PATHS = frozenset({"DYLD_INSERT_LIBRARIES", "LD_PRELOAD", "MALLOC_CONF"})
_IDENTIFIER = re.compile(r"\b(GPU|MIG)-[\w/-]+")  # in CUDA_VISIBLE_DEVICES
_CHECKOUT = Path(harness.__file__).parents[1]
_GIT_TIMEOUT_S = 2.0


def software_facts(environ: Mapping[str, str] = os.environ, checkout: Path = _CHECKOUT) -> Facts:
    """What runs the measurement; `checkout` is the folder that holds the package."""
    facts = collect(
        {
            "arch": platform.machine,
            "libc": _libc,
            "python": lambda: f"{platform.python_implementation()} {platform.python_version()}",
            "harness": lambda: harness.__version__,
            "python_compiler": lambda: " ".join(platform.python_compiler().split()),
            "python_switches": _python_switches,
            "page_bytes": resource.getpagesize,
            "nice": lambda: os.getpriority(os.PRIO_PROCESS, 0),
            **{name: partial(_version, name) for name in _LIBRARIES},
            "env": lambda: environment(environ),
        }
    )
    return {**facts, **torch_version_facts(), **git_facts(checkout)}


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that matter and are set, without folders and without identifiers of GPUs."""
    values = {name: environ[name] for name in _VARIABLES.split() if name in environ}
    values = {name: _IDENTIFIER.sub(r"\1-…", value) for name, value in values.items()}
    return {
        name: re.sub(r"[^\s:]*/", "", value) if name in _WITH_PATHS else value
        for name, value in values.items()
    }


def parse_git_status(text: str) -> Facts:
    """Facts from `git status --porcelain=v2 --branch`."""
    match = re.search(r"^# branch\.oid (\S+)$", text, re.MULTILINE)
    if match is None:
        raise NotKnown("git status is not understood")
    changed = [line for line in text.splitlines() if line and not line.startswith(("#", "?"))]
    return {"git_revision": match[1], "git_dirty": bool(changed)}


def git_facts(checkout: Path) -> Facts:
    """Commit and cleanness of a checkout, from one call of git that takes no lock."""
    try:
        return parse_git_status(_git_status(checkout))
    except NotKnown as error:
        return dict.fromkeys(("git_revision", "git_dirty"), unavailable(str(error)))


def _git_status(checkout: Path) -> str:
    if not (checkout / ".git").exists():
        raise NotKnown("the harness does not run from a git checkout")
    command = ["git", "--no-optional-locks", "status"]
    # A git hook that runs us would point git elsewhere.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*command, "--porcelain=v2", "--branch", "--untracked-files=no"],
            cwd=checkout,
            env=environ,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except FileNotFoundError as error:
        raise NotKnown("git is not installed") from error
    except subprocess.CalledProcessError as error:
        # In every language, for it is the name of a setting.
        is_distrusted = "safe.directory" in (error.stderr or "")
        reason = "the checkout is another user's, whom git does not trust (its safe.directory)"
        raise NotKnown(reason if is_distrusted else "git status failed") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise NotKnown("git status failed") from error
    return done.stdout


def _libc() -> str:
    name = "CS_GNU_LIBC_VERSION"
    version = os.confstr(name) if name in os.confstr_names else None
    if not version:
        raise NotKnown("not the GNU C library")
    return version


def _python_switches() -> dict[str, bool | int]:
    """How this Python was built and started, where that costs speed."""
    is_gil_on = getattr(sys, "_is_gil_enabled", lambda: True)  # Python 3.13 and later
    return {
        "debug_build": hasattr(sys, "gettotalrefcount"),
        "gil": bool(is_gil_on()),
        "optimize": sys.flags.optimize,
        "dev_mode": sys.flags.dev_mode,
        "traced": sys.gettrace() is not None,
    }


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as error:
        raise NotKnown("not installed") from error
