import subprocess

import pytest

from harness.machine import software
from harness.machine.facts import NotKnown
from harness.machine.software import (
    environment,
    git_facts,
    parse_git_status,
    software_facts,
)
from harness.machine.torch_version import (
    parse_torch_cuda,
    parse_torch_debug,
    parse_torch_git,
    parse_torch_hip,
    parse_torch_version,
)

CLEAN = """# branch.oid 3fb1a9d2c0b54f8c8a0b7fd3f3a4f3e1d2c3b4a5
# branch.head main
# branch.upstream origin/main
# branch.ab +0 -0
"""


def test_a_clean_checkout():
    assert parse_git_status(CLEAN) == {
        "git_revision": "3fb1a9d2c0b54f8c8a0b7fd3f3a4f3e1d2c3b4a5",
        "git_dirty": False,
    }


@pytest.mark.parametrize(
    "line, dirty",
    [
        ("1 .M N... 100644 100644 100644 aa bb harness/errors.py", True),
        ("2 R. N... 100644 100644 100644 aa bb R100 new\told", True),
        ("u UU N... 100644 100644 100644 100644 aa bb cc both", True),
        ("? notes.txt", False),
    ],
)
def test_changed_files_make_it_dirty(line, dirty):
    assert parse_git_status(f"{CLEAN}{line}\n")["git_dirty"] is dirty


def test_a_package_is_no_checkout(tmp_path):
    assert git_facts(tmp_path)["git_revision"] == {
        "unavailable": "the harness does not run from a git checkout"
    }
    assert software_facts({}, tmp_path)["git_dirty"] == git_facts(tmp_path)["git_dirty"]


@pytest.mark.parametrize(
    "error, reason",
    [
        (FileNotFoundError("git"), "git is not installed"),
        (subprocess.CalledProcessError(128, "git"), "git status failed"),
        (
            subprocess.CalledProcessError(128, "git", stderr="git config --add safe.directory /a"),
            "the checkout is another user's, whom git does not trust (its safe.directory)",
        ),
        (subprocess.TimeoutExpired("git", 2), "git status failed"),
    ],
)
def test_git_that_fails_is_a_reason(tmp_path, monkeypatch, error, reason):
    def fail(*_, **__):
        raise error

    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(software.subprocess, "run", fail)
    assert git_facts(tmp_path)["git_dirty"] == {"unavailable": reason}


@pytest.mark.parametrize(
    "line", ["cuda: Optional[str] = '11.8'", "cuda = '11.8'", 'cuda: str | None = "11.8"']
)
def test_cuda_of_torch(line):
    source = f"__version__ = '2.0.1'\ndebug = False\n{line}\ngit_version = 'e9eb'\nhip = None\n"
    assert parse_torch_cuda(source) == "11.8"


@pytest.mark.parametrize(
    "line", ["__version__ = '2.0.1+cu117'", '__version__: str = "2.0.1+cu117"']
)
def test_the_build_of_torch(line):
    assert parse_torch_version(f"from typing import Optional\n{line}\ncuda = '11.7'\n") == (
        "2.0.1+cu117"
    )


def test_torch_is_named_as_it_names_itself():
    assert software_facts({})["torch"] == pytest.importorskip("torch").__version__


def test_torch_without_cuda():
    with pytest.raises(NotKnown, match="built without CUDA"):
        parse_torch_cuda("cuda: Optional[str] = None\ngit_version = 'e9eb'\n")


def test_what_else_torch_writes_down():
    source = (
        "__version__ = '2.0.1'\ndebug = False\ncuda = None\ngit_version = 'e9eb'\nhip = '5.4'\n"
    )
    assert parse_torch_git(source) == "e9eb"
    assert parse_torch_debug(source) is False
    assert parse_torch_debug("debug: bool = True\n") is True
    assert parse_torch_hip(source) == "5.4"
    with pytest.raises(NotKnown, match="does not say"):
        parse_torch_git("")


def test_only_variables_that_matter_and_no_folders():
    found = environment(
        {
            "OMP_NUM_THREADS": "4",
            "KMP_AFFINITY": "granularity=fine,compact,1,0",
            "LD_PRELOAD": "/home/alice/lib/libjemalloc.so.2:/opt/x/libiomp5.so",
            "OMP_THREAD_LIMIT": "2",
            "CUDA_VISIBLE_DEVICES": "GPU-6b1c5a0e-3f0f,MIG-8a7c/1/0,0",
            "HOME": "/home/alice",
            "USER": "alice",
            "HOSTNAME": "secret-host",
        }
    )
    assert found == {
        "OMP_NUM_THREADS": "4",
        "KMP_AFFINITY": "granularity=fine,compact,1,0",
        "LD_PRELOAD": "libjemalloc.so.2:libiomp5.so",
        "OMP_THREAD_LIMIT": "2",
        "CUDA_VISIBLE_DEVICES": "GPU-…,MIG-…,0",
    }


def test_how_python_runs(monkeypatch):
    facts = software_facts({})
    assert facts["page_bytes"] % 4096 == 0
    assert facts["python_switches"]["gil"] is True
    assert facts["python_compiler"].split()
    monkeypatch.setattr(software.os, "getpriority", lambda *_: 7)
    assert software_facts({})["nice"] == 7
