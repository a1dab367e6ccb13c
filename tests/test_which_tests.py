"""What `HARNESS_TESTS` leaves out, and that a wrong value does not pass for all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

TESTS = Path(__file__).parent
LEFT_OUT = [name for names in conftest._LEFT_OUT_OF_A_BUILD.values() for name in names]


def collected(value, *files):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *files],
        cwd=TESTS.parent,
        env={**os.environ, "HARNESS_TESTS": value},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_set_of_tests_is_refused_with_the_known():
    done = collected("buidl", "tests/stats")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "HARNESS_TESTS=buidl" in done.stderr
    assert "`build`" in done.stderr


def test_a_build_says_what_it_leaves_out_and_leaves_it_out():
    done = collected("build", "tests/stats", "tests/nix")
    assert done.returncode == 0
    assert "test_describe.py" in done.stdout
    assert "HARNESS_TESTS=build: left out" in done.stdout
    header, tree = done.stdout.split("collected ", 1)
    for name in LEFT_OUT:
        assert name in header
    assert "test_intervals.py" not in tree
    assert "nix" not in tree


def test_without_it_nothing_is_left_out():
    done = collected("", "tests/stats")
    assert "test_intervals.py" in done.stdout
    assert "left out" not in done.stdout


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("nix/test_flake.py", True),
        ("test_architecture.py", True),
        ("machine/test_memory_of_process.py", True),
        ("cli/test_run_command.py", True),
        ("cli/test_main.py", False),
        ("cli", False),
    ],
)
def test_names_are_patterns_of_paths_in_the_folder_of_tests(name, left_out):
    assert conftest._is_left_out_of_a_build(TESTS / name) is left_out
    assert not conftest._is_left_out_of_a_build(TESTS.parent / name)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_there(name):
    assert list(TESTS.glob(name)) or list(TESTS.rglob(name))
