"""What the installed PyTorch is, by the text of its `version.py`: PyTorch is not imported.

As PyTorch says it itself, also when the worker asks it: with the build's `+cu118`. The `parse_`
functions are pure and raise `NotKnown`.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from harness.machine.facts import Facts, NotKnown, collect


def torch_version_facts() -> Facts:
    """Version, commit and build."""
    return collect(
        {
            "torch": lambda: parse_torch_version(_version_py()),
            "torch_git": lambda: parse_torch_git(_version_py()),
            "torch_debug": lambda: parse_torch_debug(_version_py()),
            "torch_cuda": lambda: parse_torch_cuda(_version_py()),
            "torch_hip": lambda: parse_torch_hip(_version_py()),
        }
    )


def parse_torch_version(version_py: str) -> str:
    """The release and build."""
    return _value(version_py, "__version__")


def parse_torch_git(version_py: str) -> str:
    """The commit it was built from."""
    return _value(version_py, "git_version")


def parse_torch_debug(version_py: str) -> bool:
    """Whether it was built for debugging."""
    return _value(version_py, "debug") == "True"


def parse_torch_cuda(version_py: str) -> str:
    """The CUDA release that it was built with."""
    return _built_with(version_py, "cuda", "CUDA")


def parse_torch_hip(version_py: str) -> str:
    """The HIP release that it was built with."""
    return _built_with(version_py, "hip", "HIP")


def _built_with(version_py: str, name: str, what: str) -> str:
    value = _value(version_py, name)
    if value == "None":
        raise NotKnown(f"this PyTorch is built without {what}")
    return value


def _value(version_py: str, name: str) -> str:
    """Of an assignment, with or without a type."""
    match = re.search(rf"^{name}\b[^=\n]*=\s*(\S+)", version_py, re.MULTILINE)
    if match is None:
        raise NotKnown("torch/version.py does not say")
    return match[1].strip("'\"")


def _version_py() -> str:
    spec = importlib.util.find_spec("torch")  # finds it, does not import it
    if spec is None or spec.origin is None:
        raise NotKnown("not installed")
    return (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
