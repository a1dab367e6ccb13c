"""Which compilers are installed, and of which release: extensions and TorchScript may use them.

Asks all of them at once, each for its version and nothing else. `parse_release` is pure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping

from harness.machine.facts import NotKnown

_PROGRAMS = ("gcc", "clang", "cmake", "nvcc")
_TIMEOUT_S = 2.0


class Compilers:
    """Started when made, so that other facts are found out meanwhile."""

    def __init__(
        self, environ: Mapping[str, str] = os.environ, platform: str = sys.platform
    ) -> None:
        self._why_not: str | None = None
        self._started: dict[str, subprocess.Popen[str]] = {}
        if platform == "darwin":
            self._why_not = "not asked on macOS, which offers to install what is missing"
            return
        for name in _PROGRAMS:
            program = shutil.which(name, path=environ.get("PATH", os.defpath))
            if program is not None and (process := _start(program)) is not None:
                self._started[name] = process

    def releases(self) -> dict[str, str]:
        """Name -> release, of those on PATH; raises `NotKnown` where asking is not safe."""
        if self._why_not is not None:
            raise NotKnown(self._why_not)
        said = {name: _finish(process) for name, process in self._started.items()}
        self._started.clear()
        return {name: release for name, release in said.items() if release is not None}


def parse_release(text: str) -> str | None:
    """`12.2.0` in `gcc (Debian 12.2.0-14) 12.2.0` and `Cuda compilation tools, …, V11.8.89`."""
    for part in (text.partition("\n")[0], text):
        found = re.findall(r"(?:^|[\sV])(\d+\.\d+(?:\.\d+)*)(?=[\s,+-]|$)", part, re.MULTILINE)
        if found:
            return str(found[-1])
    return None


def _start(program: str) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return None


def _finish(process: subprocess.Popen[str]) -> str | None:
    try:
        text, _ = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return parse_release(text) if process.returncode == 0 else None
