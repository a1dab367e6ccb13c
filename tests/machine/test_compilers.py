"""Releases of compilers: as they write them, and when asking must not be tried."""

from __future__ import annotations

import subprocess

import pytest

from harness.machine import compilers as subject
from harness.machine.compilers import Compilers, parse_release
from harness.machine.facts import NotKnown

GCC = """gcc (Debian 12.2.0-14+deb12u1) 12.2.0
Copyright (C) 2022 Free Software Foundation, Inc.
"""
NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Copyright (c) 2005-2022 NVIDIA Corporation
Cuda compilation tools, release 11.8, V11.8.89
Build cuda_11.8.r11.8/compiler.31833905_0
"""


@pytest.mark.parametrize(
    "text, release",
    [
        (GCC, "12.2.0"),
        ("gcc (GCC) 13.2.1 20240316 (Red Hat 13.2.1-7)\n", "13.2.1"),
        ("Ubuntu clang version 14.0.0-1ubuntu1.1\nTarget: x86_64-pc-linux-gnu\n", "14.0.0"),
        ("cmake version 3.25.1\n\nCMake suite maintained by Kitware\n", "3.25.1"),
        (NVCC, "11.8.89"),
        ("no release at all\n", None),
        ("", None),
    ],
)
def test_releases(text, release):
    assert parse_release(text) == release


@pytest.fixture
def programs(tmp_path):
    """A folder of programs: name -> script of a shell."""

    def make(**scripts):
        for name, script in scripts.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            path.chmod(0o755)
        return {"PATH": str(tmp_path)}

    return make


def test_those_on_the_path_are_asked(programs):
    environ = programs(
        gcc="echo 'gcc (X) 9.4.0'", clang="echo 'clang version 1.2'; exit 1", cmake="echo nothing"
    )
    assert Compilers(environ, "linux").releases() == {"gcc": "9.4.0"}


def test_none_is_an_answer(programs):
    assert Compilers(programs(), "linux").releases() == {}


def test_a_mac_is_not_asked(programs):
    with pytest.raises(NotKnown, match="install"):
        Compilers(programs(gcc="echo 9.4.0"), "darwin").releases()


class Hanging:
    """A program that says nothing until it is ended."""

    def __init__(self):
        self.killed = False

    def communicate(self, timeout=None):
        if not self.killed:
            raise subprocess.TimeoutExpired("gcc", timeout)
        return "", None

    def kill(self):
        self.killed = True


def test_one_that_hangs_is_ended(programs, monkeypatch):
    hanging = Hanging()
    monkeypatch.setattr(subject, "_start", lambda _: hanging)
    assert Compilers(programs(gcc="exit"), "linux").releases() == {}
    assert hanging.killed
