"""Nix without a network: a store of its own, and the stand-in in place of nixpkgs.

The stand-in has the names and versions of the pinned release, with the distributions of this
interpreter behind them, which must be those of `make test-pins`. What it cannot show: that the real
release builds and caches each package. flake.lock itself is read, never written.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "nixpkgs"

# Set where a test of the flake must not be skipped (.ci/run).
REQUIRED = "HARNESS_REQUIRE_NIX"

OFFLINE = ["--offline", "--option", "substituters", "", "--option", "sandbox", "false"]
OFFLINE += ["--option", "build-users-group", ""]
FEATURES = ["--extra-experimental-features", "nix-command flakes"]


class Nix:
    """Runs nix with a store below `base`."""

    def __init__(self, base):
        self.stand_in = _as_repository(STAND_IN, base / "nixpkgs", _hosts_python())
        self.store = base / "store"
        self._environ = {
            name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")
        }
        self._environ |= {"HOME": str(base / "home"), "XDG_CACHE_HOME": str(base / "cache")}
        self._environ |= {"OMP_NUM_THREADS": "1", "NIX_REMOTE": ""}
        for name in ("STORE", "STATE", "LOG", "CONF"):
            self._environ[f"NIX_{name}_DIR"] = str(base / name.lower())
        (base / "home").mkdir()

    @property
    def revision(self):
        """The commit of the stand-in, which takes the place of nixpkgs' revision."""
        return git(self.stand_in, "rev-parse", "HEAD").strip()

    @property
    def system(self):
        """The host's, in the words of nixpkgs."""
        return self("eval", "--impure", "--raw", "--expr", "builtins.currentSystem", override=False)

    def started(self, *words, cwd=ROOT, override=True, **environ):
        """Start nix in a process group of its own, and do not wait."""
        verbs = 2 if words[0] == "flake" else 1
        command = ["nix", *FEATURES, *OFFLINE, *words[:verbs]]
        if override:
            command += ["--override-input", "nixpkgs", f"git+file://{self.stand_in}"]
        return subprocess.Popen(
            [*command, *words[verbs:]],
            cwd=cwd,
            env={**self._environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def attempt(self, *words, **options):
        """Run nix; the completed process, however it ended."""
        process = self.started(*words, **options)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def __call__(self, *words, **options):
        """Run nix; what it prints. It must succeed."""
        done = self.attempt(*words, **options)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def evaluate(self, installable, apply="x: x", *flags):
        """The value of an attribute of the flake, after a function."""
        return json.loads(self("eval", "--json", *flags, installable, "--apply", apply))

    def refuses(self, *words, **options):
        """What nix complains of. It must fail."""
        done = self.attempt(*words, **options)
        assert done.returncode != 0, f"this was accepted: nix {' '.join(words)}\n{done.stdout}"
        return done.stderr


def git(folder, *words):
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def tracked_files(folder):
    return git(folder, "ls-files", "-z").strip("\0").split("\0")


def _as_repository(source, target, more=None):
    """A copy of a folder, with more files, as a git repository of one commit."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in (more or {}).items():
        (target / name).write_text(text)
    git(target, "init", "--quiet")
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "--message", "As of now")
    return target


def _hosts_python():
    """The interpreter with the pinned distributions, and the one that it is made from."""
    return {"host-python": f"{sys.executable}\n", "host-interpreter": f"{sys._base_executable}\n"}


def _why_not():
    if shutil.which("nix") is None:
        return "nix is not installed"
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return "not a git checkout"
    if sys.version_info[:2] != (3, 10):
        return "the flake's Python is 3.10: make test-flake"
    return None


@pytest.fixture(scope="session")
def nix(tmp_path_factory):
    why = _why_not()
    if why and os.environ.get(REQUIRED):
        pytest.fail(f"{why}, and {REQUIRED} is set")
    if why:
        pytest.skip(why)
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture
def copy(nix, tmp_path):
    """A checkout of the tracked files as they are now, to be broken."""
    target = tmp_path / "checkout"
    target.mkdir()
    for name in tracked_files(ROOT):
        file = ROOT / name
        if file.exists() and not name.startswith(("tests/", "results/")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / name, follow_symlinks=False)
    git(target, "init", "--quiet")
    git(target, "add", "--all")
    return target
