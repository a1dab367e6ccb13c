"""Nix, virtual environments, conda and systems, each made of a few folders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.machine.declared import FACTS
from harness.machine.facts import NotKnown
from harness.machine.provenance import (
    Interpreter,
    provenance_facts,
    read_stamp,
    running,
    store_path,
)

REV = "70bdadeb94ffc8806c0570eb5c2695ad29f0e421"
NAR = "sha256-LWvKHp7kGxk/GEtlrGYV68qIvPHkU9iToomNFGagixU="
LOCK = "1f" * 32
SITE = "lib/python3.10/site-packages"
VARIABLE = "RWKV_HARNESS_CLOSURE"


@pytest.fixture
def make_files(tmp_path):
    def make(*paths, text=""):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        return tmp_path / paths[-1]

    return make


class Nix:
    """A Nix store with an interpreter's environment, the harness, and the flake's file."""

    def __init__(self, root, make_files):
        self.root, self.store = root, root / "nix/store"
        self.env = self.store / f"{'a1' * 16}-python3-3.10.13-env"
        self.package = self.store / f"{'b2' * 16}-python3.10-rwkv-harness-0.1.0"
        self.closure = self.store / f"{'c3' * 16}-rwkv-harness-closure.json"
        python = make_files(self.env / "bin/python3.10")
        make_files(self.package / SITE / "harness/__init__.py")
        make_files(self.env / SITE / "numpy-1.24.2.dist-info/METADATA")
        # As nixpkgs builds environments: links to the packages.
        (self.env / SITE / "harness").symlink_to(self.package / SITE / "harness")
        self.python = Interpreter(
            executable=python,
            prefix=self.env,
            base_prefix=self.store / f"{'d4' * 16}-python3-3.10.13",
            path=(str(self.env / SITE),),
        )
        self.say()

    def say(self, **changes):
        said = {
            "store": str(self.store),
            "nixpkgs_rev": REV,
            "nixpkgs_nar_hash": NAR,
            "flake_lock_sha256": LOCK,
        }
        self.closure.write_text(json.dumps(said | changes), encoding="utf-8")

    def facts(self, python=None, package=None, **environ):
        return provenance_facts(
            {VARIABLE: str(self.closure)} | environ,
            interpreter=python or self.python,
            package=package or self.env / SITE / "harness",
            store=self.store,
        )


@pytest.fixture
def nix(tmp_path, make_files):
    return Nix(tmp_path, make_files)


def with_path(python, *path):
    return Interpreter(
        executable=python.executable,
        prefix=python.prefix,
        base_prefix=python.base_prefix,
        path=tuple(map(str, path)),
    )


def why(facts, name):
    return facts[name]["unavailable"]


def test_a_nix_closure_is_named_in_full(nix):
    facts = nix.facts()
    assert facts == {
        "provenance": "nix",
        "nix_interpreter": str(nix.env),
        "nix_package": str(nix.package),
        "nixpkgs_rev": REV,
        "nixpkgs_nar_hash": NAR,
        "flake_lock_sha256": LOCK,
        "constraints": {"unavailable": "not a virtual environment"},
        "constraints_sha256": {"unavailable": "not a virtual environment"},
        "distributions": {"numpy": "1.24.2", "rwkv-harness": harness.__version__},
        "distributions_sha256": facts["distributions_sha256"],
        "distributions_outside": [],
    }
    assert list(facts) == [name for name, about in FACTS.items() if about.group == "Provenance"]


def test_a_profile_that_links_to_the_store_is_nix(nix, tmp_path):
    profile = tmp_path / "profile"
    profile.symlink_to(nix.env)
    python = Interpreter(
        executable=profile / "bin/python3.10", prefix=profile, base_prefix=profile, path=()
    )
    facts = nix.facts(python)
    assert (facts["provenance"], facts["nix_interpreter"]) == ("nix", str(nix.env))


def test_an_environment_is_named_also_where_its_interpreter_is_a_link(nix, make_files):
    python = nix.env / "bin/python3.10"
    python.unlink()
    python.symlink_to(make_files(nix.python.base_prefix / "bin/python3.10"))
    assert nix.facts()["nix_interpreter"] == str(nix.env)


def test_in_the_developers_shell_the_harness_runs_from_a_checkout(nix, tmp_path, make_files):
    make_files("checkout/rwkv_harness.egg-info/PKG-INFO", text="Name: rwkv-harness\nVersion: 0\n")
    checkout = tmp_path / "checkout"
    facts = nix.facts(with_path(nix.python, checkout, *nix.python.path), checkout / "harness")
    assert why(facts, "nix_package") == "the harness runs from a checkout"
    assert facts["nixpkgs_rev"] == REV
    assert facts["distributions"]["rwkv-harness"] == harness.__version__
    assert facts["distributions_outside"] == []  # that it runs is meant
    assert str(tmp_path / "checkout") not in json.dumps(facts)


def test_a_package_from_elsewhere_is_a_leak(nix, tmp_path, make_files):
    make_files("home/numpy-1.26.0.dist-info/METADATA", "home/tqdm-4.0.dist-info/METADATA")
    facts = nix.facts(with_path(nix.python, tmp_path / "home", *nix.python.path))
    assert facts["distributions_outside"] == ["numpy", "tqdm"]
    assert facts["distributions"]["numpy"] == "1.26.0"
    # Behind the closure's own, only what that lacks can be imported from there.
    facts = nix.facts(with_path(nix.python, *nix.python.path, tmp_path / "home"))
    assert facts["distributions_outside"] == ["tqdm"]


def test_a_virtual_environment_on_top_of_a_nix_python_is_one(nix, tmp_path, make_files):
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(nix.env / "bin/python3.10")
    python = Interpreter(
        executable=tmp_path / "venv/bin/python",
        prefix=tmp_path / "venv",
        base_prefix=nix.env,
        path=(str(nix.env / SITE),),
    )
    facts = nix.facts(python)
    assert facts["provenance"] == "venv"
    assert facts["distributions_outside"] == ["numpy"]
    for name in ("nix_interpreter", "nix_package", "nixpkgs_rev", "flake_lock_sha256"):
        assert why(facts, name) == "not from the Nix store"


@pytest.mark.parametrize(
    "change, name, reason",
    [
        ({"nixpkgs_rev": None}, "nixpkgs_rev", "overridden by a path"),
        ({"nixpkgs_nar_hash": None}, "nixpkgs_nar_hash", "overridden"),
        ({"flake_lock_sha256": None}, "flake_lock_sha256", "no lock file"),
        ({"nixpkgs_rev": 7}, "nixpkgs_rev", "damaged"),
        ({"nixpkgs_rev": "/home/alice"}, "nixpkgs_rev", "damaged"),
        ({"store": None}, "flake_lock_sha256", "damaged"),
        ({"store": "relative"}, "flake_lock_sha256", "damaged"),
        ({"store": "/elsewhere"}, "nixpkgs_rev", "is not in the store that it names"),
    ],
)
def test_what_the_flakes_file_does_not_say_has_a_reason(nix, change, name, reason):
    nix.say(**change)
    facts = nix.facts()
    assert reason in why(facts, name)
    assert facts["nix_interpreter"] == str(nix.env)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 60000, b'{"store": "/nix/store"']
)
def test_a_damaged_file_of_the_flake_is_a_reason(nix, text):
    nix.closure.write_bytes(text)
    assert "damaged" in why(nix.facts(), "nixpkgs_rev")


@pytest.mark.parametrize("named", ["/no/such/file", "/dev/zero", "/usr"])
def test_a_file_that_is_none_is_a_reason(nix, named):
    assert why(nix.facts(**{VARIABLE: named}), "nixpkgs_rev") == f"{VARIABLE} names no file"


def test_a_file_that_cannot_be_read_is_a_reason(nix):
    reason = why(nix.facts(**{VARIABLE: "x" * 5000}), "nixpkgs_rev")
    assert reason == f"the file that {VARIABLE} names cannot be read"


def test_without_the_flake_it_says_so(nix):
    facts = nix.facts(**{VARIABLE: ""})
    assert facts["provenance"] == "nix"
    assert (
        why(facts, "nixpkgs_rev") == why(facts, "flake_lock_sha256") == "not started by the flake"
    )


def test_a_copy_of_the_flakes_file_is_not_believed(nix, tmp_path):
    copy = tmp_path / "closure.json"
    copy.write_bytes(nix.closure.read_bytes())
    assert "not in the store" in why(nix.facts(**{VARIABLE: str(copy)}), "nixpkgs_rev")
    sly = str(nix.closure / "../../../closure.json")
    assert isinstance(nix.facts(**{VARIABLE: sly})["nixpkgs_rev"], dict)


def test_the_flakes_file_says_nothing_of_another_interpreter(nix, tmp_path, make_files):
    python = Interpreter(
        executable=make_files("usr/bin/python3"), prefix=tmp_path, base_prefix=tmp_path, path=()
    )
    facts = nix.facts(python)
    assert facts["provenance"] == "system"
    assert why(facts, "nixpkgs_rev") == "not from the Nix store"


def test_the_flakes_file_of_another_store_is_not_believed(nix, tmp_path):
    other = tmp_path / "other/store"
    other.mkdir(parents=True)
    copy = other / nix.closure.name
    nix.say(store=str(other))
    copy.write_bytes(nix.closure.read_bytes())
    facts = nix.facts(**{VARIABLE: str(copy)})
    assert facts["provenance"] == "nix"
    assert why(facts, "nixpkgs_rev") == f"Python is not from the store that {VARIABLE} tells of"


@pytest.fixture
def venv(tmp_path, make_files):
    """A virtual environment with one package, and a system's folder with another."""
    make_files(f"venv/{SITE}/numpy-1.24.2.dist-info/METADATA")
    make_files("usr/dist-packages/rich-13.3.1.egg-info")
    return Interpreter(
        executable=make_files("venv/bin/python"),
        prefix=tmp_path / "venv",
        base_prefix=tmp_path / "usr",
        path=(str(tmp_path / "venv" / SITE),),
    )


def test_a_virtual_environment_names_its_constraints(venv, make_files):
    make_files("venv/.ready", text=f"{LOCK}  nix/pins-23.05.txt\n")
    facts = provenance_facts({}, interpreter=venv)
    assert facts["provenance"] == "venv"
    assert facts["constraints"] == "pins-23.05.txt"
    assert facts["constraints_sha256"] == LOCK
    assert facts["distributions"].keys() == {"numpy", "rwkv-harness"}
    assert facts["distributions_outside"] == []


def test_what_a_virtual_environment_takes_from_the_system_is_named(venv, tmp_path):
    here = with_path(venv, *venv.path, tmp_path / "usr/dist-packages")
    assert provenance_facts({}, interpreter=here)["distributions_outside"] == ["rich"]


@pytest.mark.parametrize(
    "text, reason",
    [
        (None, "not made by scripts/make-venv"),
        ("", "before its constraints were kept"),
        ("nonsense", ".ready of the virtual environment is not understood"),
        ("\ufeff" + LOCK, "not understood"),
        (f"{LOCK}  ", "not understood"),
    ],
)
def test_a_virtual_environment_without_a_stamp_says_why(venv, make_files, text, reason):
    if text is not None:
        make_files("venv/.ready", text=text)
    facts = provenance_facts({}, interpreter=venv)
    assert reason in why(facts, "constraints")
    assert reason in why(facts, "constraints_sha256")


def test_a_stamp_names_no_folder():
    assert read_stamp(f"{LOCK}  /home/alice/constraints.txt\n") == (LOCK, "constraints.txt")


def test_conda_and_the_system(tmp_path, make_files):
    python = Interpreter(
        executable=make_files("opt/bin/python"),
        prefix=tmp_path / "opt",
        base_prefix=tmp_path / "opt",
        path=(str(make_files("local/tqdm-4.0.dist-info/METADATA").parents[1]),),
    )
    facts = provenance_facts({}, interpreter=python)
    assert facts["provenance"] == "system"
    assert facts["distributions"]["tqdm"] == "4.0"
    assert "environment of its own" in why(facts, "distributions_outside")
    assert why(facts, "constraints") == "not a virtual environment"
    (tmp_path / "opt/conda-meta").mkdir()
    facts = provenance_facts({}, interpreter=python)
    assert facts["provenance"] == "conda"
    assert facts["distributions_outside"] == ["tqdm"]


def test_store_path():
    store = f"/nix/store/{'a1' * 16}-python3-3.10.13-env"
    assert store_path(Path(store) / "bin/python3.10", Path("/nix/store")) == store
    assert store_path(Path(store), Path("/nix/store")) == store
    for outside in ("/usr/bin/python3.10", "/nix/store", f"{store}/../../../usr/bin/python"):
        with pytest.raises(NotKnown):
            store_path(Path(outside), Path("/nix/store"))


@pytest.mark.parametrize("first", ["", "here"])
def test_the_current_directory_is_not_searched(tmp_path, monkeypatch, first, make_files):
    make_files("stray-1.0.dist-info/METADATA")
    monkeypatch.chdir(tmp_path)
    path = [first and str(tmp_path), *sys.path]
    monkeypatch.setattr(sys, "path", path)
    assert str(tmp_path) not in running().path
    assert "" not in running().path[:1]
    assert sys.path == path
    assert "stray" not in provenance_facts({})["distributions"]


def test_this_interpreter_and_no_path_of_it():
    facts = provenance_facts()
    assert facts["distributions"]["rwkv-harness"] == harness.__version__
    assert {"numpy", "msgspec"} <= facts["distributions"].keys()
    if facts["provenance"] != "nix":
        assert sys.prefix not in json.dumps(facts)
        assert str(Path(harness.__file__).parents[1]) not in json.dumps(facts)


def test_worker_and_parent_see_the_same(tmp_path):
    """Records of trials that had no worker would differ from the others otherwise."""
    code = "import json; from harness.machine.provenance import provenance_facts as f; "
    code += "print(json.dumps(f()))"
    root = Path(harness.__file__).parents[1]
    start = "import sys; sys.path[:] = [p for p in sys.path if p]; "
    shown = [
        subprocess.run(
            [sys.executable, "-c", prefix + code],
            env={**os.environ, "PYTHONPATH": str(root)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for prefix in ("", start)
    ]
    assert shown[0] == shown[1]
