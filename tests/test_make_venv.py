"""scripts/make-venv, as far as it goes without a network: which interpreter, and what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/make-venv"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not a checkout")


@pytest.fixture
def make_venv(tmp_path):
    def run(*versions, **environ):
        done = subprocess.run(
            [SCRIPT, "venv", "constraints.txt", "test", *versions],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYENV_ROOT": str(tmp_path / "pyenv"), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not (tmp_path / "venv/.ready").exists()
        return done

    return run


@pytest.fixture
def stand_in(tmp_path):
    """An interpreter of pyenv's that says it is the version asked for, and then fails."""
    path = tmp_path / "pyenv/versions/9.9.1/bin/python"
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\n[ "$1" = -c ] && echo "$0" && exit\necho "ran $*"; exit 1\n')
    path.chmod(0o755)
    return path


def test_without_an_interpreter_it_says_what_to_do(make_venv):
    done = make_venv("9.8", "9.9")
    assert done.returncode == 2
    assert "needs Python 9.8 9.9, and none" in done.stderr
    assert "PYTHON=/path/to/python9.8" in done.stderr


def test_an_interpreter_of_another_version_is_refused(make_venv):
    done = make_venv("9.9", PYTHON=sys.executable)
    assert done.returncode == 2
    assert f"PYTHON={sys.executable} is not one" in done.stderr


def test_a_version_that_only_pyenv_has_is_found(make_venv, stand_in):
    done = make_venv("9.8", "9.9")
    assert done.returncode == 1
    assert "ran -m venv --clear venv" in done.stdout


def test_python_is_preferred_to_what_is_found(make_venv, stand_in, tmp_path):
    named = tmp_path / "named"
    named.write_text(stand_in.read_text().replace('"ran $*"', '"named"'))
    named.chmod(0o755)
    assert "named" in make_venv("9.9", PYTHON=str(named)).stdout
