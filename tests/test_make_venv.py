"""scripts/make-venv without a network: which interpreter, what it says, and the stamp it leaves."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/make-venv"
# Says it is the version asked for, and does as `-m venv` and pip would, without their work.
WORKING = """#!/bin/sh
case "$1 $2 $3" in
  "-c "*) echo "$0" ;;
  "-m venv --clear") rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m pip install") echo pip installs; [ ! -e listed ] || cat listed; [ ! -e said ] || cat said >&2
    [ ! -e broken ] && [ ! -e venv/.ready ] ;;
  *) echo "Python 9.9.1" ;;
esac
"""
CONSTRAINTS = "numpy==1.24.2\n"
STAMP = f"{hashlib.sha256(CONSTRAINTS.encode()).hexdigest()}  nix/constraints.txt\n"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not a checkout")


@pytest.fixture
def make_venv(tmp_path):
    def run(*versions, **environ):
        return subprocess.run(
            [SCRIPT, "venv", "nix/constraints.txt", "test", *versions],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYENV_ROOT": str(tmp_path / "pyenv"), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    (tmp_path / "nix").mkdir()
    (tmp_path / "nix/constraints.txt").write_text(CONSTRAINTS, encoding="utf-8")
    return run


@pytest.fixture
def ready(tmp_path):
    return tmp_path / "venv/.ready"


@pytest.fixture
def interpreter(tmp_path):
    """Writes an interpreter of pyenv's of version 9.9.1: a shell script."""

    def write(script):
        path = tmp_path / "pyenv/versions/9.9.1/bin/python"
        path.parent.mkdir(parents=True)
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def stand_in(interpreter):
    """One that says it is the version asked for, and then fails."""
    return interpreter('#!/bin/sh\n[ "$1" = -c ] && echo "$0" && exit\necho "ran $*"; exit 1\n')


def test_without_an_interpreter_it_says_what_to_do(make_venv, ready):
    done = make_venv("9.8", "9.9")
    assert done.returncode == 2
    assert "needs Python 9.8 9.9, and none" in done.stderr
    assert "PYTHON=/path/to/python9.8" in done.stderr
    assert not ready.exists()


def test_an_interpreter_of_another_version_is_refused(make_venv):
    done = make_venv("9.9", PYTHON=sys.executable)
    assert done.returncode == 2
    assert f"PYTHON={sys.executable} is not one" in done.stderr


def test_a_version_that_only_pyenv_has_is_found(make_venv, stand_in, ready):
    done = make_venv("9.8", "9.9")
    assert done.returncode == 1
    assert "ran -m venv --clear venv" in done.stdout
    assert not ready.exists()


def test_python_is_preferred_to_what_is_found(make_venv, stand_in, tmp_path):
    named = tmp_path / "named"
    named.write_text(stand_in.read_text().replace('"ran $*"', '"named"'))
    named.chmod(0o755)
    assert "named" in make_venv("9.9", PYTHON=str(named)).stdout


def test_the_stamp_names_the_constraints_and_their_hash(make_venv, interpreter, ready):
    interpreter(WORKING)
    assert make_venv("9.9").returncode == 0
    assert ready.read_text(encoding="utf-8") == STAMP


def test_the_stamp_is_younger_than_the_constraints_and_follows_them(
    make_venv, interpreter, ready, tmp_path
):
    interpreter(WORKING)
    make_venv("9.9")
    before = ready.stat().st_mtime_ns
    constraints = tmp_path / "nix/constraints.txt"
    constraints.write_text("numpy==1.24.3\n", encoding="utf-8")
    assert make_venv("9.9").stdout.startswith("Bringing venv up to date.")
    assert ready.stat().st_mtime_ns > before
    assert ready.stat().st_mtime_ns >= constraints.stat().st_mtime_ns
    assert ready.read_text(encoding="utf-8").startswith(
        hashlib.sha256(constraints.read_bytes()).hexdigest()
    )


def test_an_empty_stamp_of_former_times_is_replaced(make_venv, interpreter, ready):
    interpreter(WORKING)
    make_venv("9.9")
    ready.write_bytes(b"")
    assert make_venv("9.9").returncode == 0
    assert ready.read_text(encoding="utf-8") == STAMP


def test_what_is_half_installed_has_no_stamp(make_venv, interpreter, ready, tmp_path):
    interpreter(WORKING)
    make_venv("9.9")
    (tmp_path / "broken").touch()
    assert make_venv("9.9").returncode != 0
    assert not ready.exists()


WARNINGS = """\
WARNING: Location 'file:///nowhere/' is ignored: it is neither a file nor a directory.
DEPRECATION: some is being installed using the legacy 'setup.py install' method
[notice] A new release of pip is available
"""
RETRYING = "WARNING: Retrying (Retry(total=4)) after connection broken by 'SSLError'\n"
ERRORS = """\
ERROR: Could not find a version that satisfies the requirement torch (from versions: none)
  a second line \\ of it, with a tab\tand an end
error: subprocess-exited-with-error"""


@pytest.fixture
def warnings(tmp_path):
    return tmp_path / "venv/pip-warnings.txt"


def test_what_pip_warns_of_is_kept_apart_and_one_line_says_where(
    make_venv, interpreter, tmp_path, warnings
):
    interpreter(WORKING)
    (tmp_path / "said").write_text(RETRYING + WARNINGS, encoding="utf-8")
    done = make_venv("9.9")
    assert done.returncode == 0
    assert done.stderr == f"{RETRYING}What pip warned of is in venv/pip-warnings.txt.\n"
    assert warnings.read_text(encoding="utf-8") == WARNINGS


def test_an_error_of_pip_is_shown_whole_without_the_warnings(
    make_venv, interpreter, ready, tmp_path, warnings
):
    interpreter(WORKING)
    (tmp_path / "broken").touch()
    (tmp_path / "said").write_text(WARNINGS + ERRORS, encoding="utf-8")  # no newline at its end
    done = make_venv("9.9")
    assert done.returncode != 0
    assert done.stderr == f"{ERRORS}\nWhat pip warned of is in venv/pip-warnings.txt.\n"
    assert warnings.read_text(encoding="utf-8") == WARNINGS
    assert not ready.exists()


def test_without_warnings_nothing_is_said_of_them_nor_of_former_ones(
    make_venv, interpreter, tmp_path
):
    interpreter(WORKING)
    (tmp_path / "said").write_text(WARNINGS, encoding="utf-8")
    assert "warned" in make_venv("9.9").stderr
    (tmp_path / "said").unlink()
    assert make_venv("9.9").stderr == ""


def test_of_what_pip_does_only_what_explains_a_wait_is_shown(make_venv, interpreter, tmp_path):
    interpreter(WORKING)
    listed = """\
Collecting torch==2.13 (from rwkv-harness)
  Downloading torch-2.13-cp311-manylinux.whl (812.4 MB)
  Downloading idna-3.1-py3-none-any.whl (1.4 MB)
  Using cached numpy-2.4-cp311.whl (16.9 MB)
Installing collected packages: idna, numpy, torch
"""
    (tmp_path / "listed").write_text(listed, encoding="utf-8")
    assert make_venv("9.9").stdout.splitlines()[1:] == [
        "Downloading torch-2.13-cp311-manylinux.whl (812.4 MB)",
        "Using cached numpy-2.4-cp311.whl (16.9 MB)",
        "Installing collected packages",
    ]


def test_versions_that_exclude_each_other_are_shown(make_venv, interpreter, tmp_path):
    interpreter(WORKING)
    conflict = (
        "The conflict is caused by:\n    The user requested click==1\n    harness 0.1 needs 8\n"
    )
    (tmp_path / "broken").touch()
    (tmp_path / "listed").write_text(f"Collecting click\n\n{conflict}", encoding="utf-8")
    assert make_venv("9.9").stderr == conflict


def test_without_constraints_nothing_is_installed(make_venv, interpreter, ready, tmp_path):
    interpreter(WORKING)
    (tmp_path / "nix/constraints.txt").unlink()
    done = make_venv("9.9")
    assert done.returncode != 0
    assert "constraints.txt" in done.stderr
    assert not ready.exists()


def test_where_there_is_no_sha256sum_perls_program_does_it(make_venv, interpreter, ready, tmp_path):
    interpreter(WORKING)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "rm", "mkdir", "cp"):
        (programs / name).symlink_to(shutil.which(name))
    perls = programs / "shasum"
    perls.write_text(f'#!/bin/sh\n[ "$1 $2" = "-a 256" ] && printf %s "{STAMP}"\n')
    perls.chmod(0o755)
    environment = {
        "PATH": str(programs),
        "PYTHON": str(tmp_path / "pyenv/versions/9.9.1/bin/python"),
    }
    done = make_venv("9.9", **environment)
    assert done.returncode == 0, done.stderr
    assert ready.read_text(encoding="utf-8") == STAMP
