"""Facts of the software: Python, libraries, environment, and which harness this is.

Versions come from the libraries' metadata; none is imported. Paths of the file system are never
facts. Where the software comes from is in `provenance.py`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import harness
from harness.machine.facts import Facts, NotKnown, collect, unavailable

_LIBRARIES = ("numpy", "tokenizers", "safetensors")

# Read by the libraries that compute.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_MAX_CPU_ISA",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_CONF",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONOPTIMIZE",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "RWKV_CUDA_ON",
    "RWKV_JIT_ON",
    "TORCH_CUDNN_V8_API_ENABLED",
    "VECLIB_MAXIMUM_THREADS",
)
_WITH_PATHS = frozenset({"LD_PRELOAD", "MALLOC_CONF"})
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
            # As PyTorch says it itself, also when the worker asks it: with the build's "+cu118".
            "torch": lambda: parse_torch_version(_torch_version_py()),
            "torch_cuda": lambda: parse_torch_cuda(_torch_version_py()),
            **{name: partial(_version, name) for name in _LIBRARIES},
            "env": lambda: environment(environ),
        }
    )
    return {**facts, **git_facts(checkout)}


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that matter and are set, without the folders of paths in them."""
    values = {name: environ[name] for name in _VARIABLES if name in environ}
    return {
        name: re.sub(r"[^\s:]*/", "", value) if name in _WITH_PATHS else value
        for name, value in values.items()
    }


def parse_torch_version(version_py: str) -> str:
    """The release and build of PyTorch in the text of torch/version.py."""
    match = re.search(r"^__version__\b[^=\n]*=\s*['\"](\S+)['\"]", version_py, re.MULTILINE)
    if match is None:
        raise NotKnown("torch/version.py does not say")
    return match[1]


def parse_torch_cuda(version_py: str) -> str:
    """The CUDA release in the text of torch/version.py."""
    match = re.search(r"^cuda\b[^=\n]*=\s*(\S+)", version_py, re.MULTILINE)
    if match is None:
        raise NotKnown("torch/version.py does not say")
    if match[1] == "None":
        raise NotKnown("this PyTorch is built without CUDA")
    return match[1].strip("'\"")


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
    except (OSError, subprocess.SubprocessError) as error:
        raise NotKnown("git status failed") from error
    return done.stdout


def _libc() -> str:
    name = "CS_GNU_LIBC_VERSION"
    version = os.confstr(name) if name in os.confstr_names else None
    if not version:
        raise NotKnown("not the GNU C library")
    return version


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as error:
        raise NotKnown("not installed") from error


def _torch_version_py() -> str:
    spec = importlib.util.find_spec("torch")  # finds it, does not import it
    if spec is None or spec.origin is None:
        raise NotKnown("not installed")
    return (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
