"""The flake, without a network: every system evaluates, and the commands of the README run.

nixpkgs is replaced by the stand-in beside this file: the attribute names of the pinned release,
with the host's Python behind them. What it cannot show: that the real release has, builds or
caches each package. flake.lock itself is read, never written.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).parent / "nixpkgs"
SYSTEMS = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"]
OFFLINE = ["--offline", "--option", "substituters", "", "--option", "sandbox", "false"]
OFFLINE += ["--option", "build-users-group", ""]

pytestmark = [
    pytest.mark.skipif(shutil.which("nix") is None, reason="nix is not installed"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout"),
]


@pytest.fixture(scope="module")
def nix(tmp_path_factory):
    """Run nix in the checkout with a store of its own; give what it prints."""
    base = tmp_path_factory.mktemp("nix")
    stub = shutil.copytree(STUB, base / "nixpkgs")
    (stub / "host-python").write_text(sys.executable + "\n")
    # The build runs pytest; one folder shows that it does, and the rest runs outside already.
    (stub / "pytest-args").write_text("tests/machine\n")
    env = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    env |= {"HOME": str(base / "home"), "XDG_CACHE_HOME": str(base / "cache"), "NIX_REMOTE": ""}
    for name in ("STORE", "STATE", "LOG", "CONF"):
        env[f"NIX_{name}_DIR"] = str(base / name.lower())
    (base / "home").mkdir()

    def run(*args, override=True):
        words = 2 if args[0] == "flake" else 1
        command = ["nix", "--extra-experimental-features", "nix-command flakes", *OFFLINE]
        command += args[:words]
        command += ["--override-input", "nixpkgs", f"path:{stub}"] if override else []
        done = subprocess.run(
            [*command, *args[words:]],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run


def test_the_lock_is_of_the_inputs_of_the_flake(nix):
    before = (ROOT / "flake.lock").read_bytes()
    metadata = nix("flake", "metadata", "--json", "--no-update-lock-file", ".", override=False)
    assert json.loads(metadata)["locks"] == json.loads(before)
    assert (ROOT / "flake.lock").read_bytes() == before


@pytest.mark.parametrize("output", ["packages", "devShells", "checks"])
def test_every_system_evaluates(nix, output):
    apply = "builtins.mapAttrs (_: builtins.mapAttrs (_: d: d.drvPath))"
    derivations = json.loads(nix("eval", "--json", f".#{output}", "--apply", apply))
    assert sorted(derivations) == SYSTEMS
    assert all(path.endswith(".drv") for system in derivations.values() for path in system.values())


def test_only_the_outputs_for_cuda_are_unfree(nix):
    names = json.loads(
        nix("eval", "--json", ".#packages", "--apply", "builtins.mapAttrs (_: builtins.attrNames)")
    )
    assert {system for system in SYSTEMS if "bench-cuda" in names[system]} == {"x86_64-linux"}


def test_the_version_is_the_packages(nix):
    version = nix("eval", "--raw", ".#checks.x86_64-linux.tests.version")
    assert f'__version__ = "{version}"' in (ROOT / "harness/__init__.py").read_text()


def test_flake_check_builds_and_tests_the_package(nix):
    nix("flake", "check", ".")


def test_run_bench_hands_its_arguments_on(nix):
    shown = nix("run", ".#bench", "--", "configs/quickstart.yaml", "--help")
    assert "Usage: rwkv-harness run" in shown


def test_run_bench_without_a_study_takes_the_shipped_one(nix):
    assert "Usage: rwkv-harness run" in nix("run", ".#bench", "--", "--help")


def test_develop_runs_the_checkout(nix):
    code = "import harness; print(harness.__file__)"
    where = nix("develop", ".", "-c", "python", "-c", code)
    assert Path(where.strip()) == ROOT / "harness/__init__.py"
    assert "Usage: rwkv-harness" in nix("develop", ".", "-c", "python", "-m", "harness", "--help")
