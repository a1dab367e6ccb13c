"""nix/pins-23.05.txt: the one list of the old floor's versions, and all that must agree with it.

pyproject.toml, the flake and its stand-in of nixpkgs repeat some of the versions; an environment
that `make` made from the list has them installed. Whether nixos-23.05 has them, no test can know.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it on Python 3.10

ROOT = Path(__file__).parents[1]
PINS = ROOT / "nix/pins-23.05.txt"
STAND_IN = ROOT / "tests/nix/nixpkgs/python-packages.nix"
READY = Path(sys.prefix) / ".ready"

# A version, and after it where the figure comes from.
LINE = re.compile(r"([a-z0-9-]+)==(\S+) +# (pin|dated|floor|beside) +\S.*")
# The list leaves these to torch 2.0.1 and to whoever makes the environment.
UNLISTED = re.compile(r"nvidia-.+-cu11|pip|setuptools|wheel|rwkv-harness")
# PyTorch's wheel asks for them on one system of the four.
ON_SOME_SYSTEMS = {"cmake", "lit", "triton"}

pytestmark = pytest.mark.skipif(not PINS.exists(), reason="not a checkout")


def lines():
    text = PINS.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def pins():
    """Version of each distribution, by its canonical name."""
    found = [LINE.fullmatch(line) for line in lines()]
    return {match[1]: match[2] for match in found if match}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(requirements):
    """Name and lower bound of each requirement that has one."""
    for requirement in map(Requirement, requirements):
        for specifier in requirement.specifier:
            assert specifier.operator == ">=", f"{requirement} has another bound than a lower one"
            yield canonicalize_name(requirement.name), specifier.version


def wheels():
    """Name and version of each wheel that the flake brings beside nixpkgs."""
    for file in sorted(ROOT.glob("nix/*.nix")):
        text = file.read_text(encoding="utf-8")
        if match := re.search(r'pname = "([^"]+)";\s+version = "([^"]+)";', text):
            yield canonicalize_name(match[1]), match[2]


def test_every_line_is_a_version_and_says_where_it_comes_from():
    assert [line for line in lines() if not LINE.fullmatch(line)] == []


def test_no_distribution_is_listed_twice(pins):
    assert len(pins) == len(lines())


def test_the_lower_bounds_of_what_is_always_installed_are_the_pins(pins, project):
    always = dict(bounds(project["dependencies"]))
    assert len(always) == len(project["dependencies"])
    assert always == {name: pins.get(name) for name in always}


def test_no_extra_asks_for_more_than_the_pins_have(pins, project):
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    pinned = [(name, bound) for name, bound in bounds(extras) if name in pins]
    assert pinned
    assert [(n, b) for n, b in pinned if Version(b) > Version(pins[n])] == []


def test_the_wheels_of_the_flake_are_the_pins(pins):
    found = dict(wheels())
    assert "rwkv" in found
    assert found == {name: pins.get(name) for name in found}


def test_the_stand_in_of_nixpkgs_has_the_pins(pins):
    text = STAND_IN.read_text(encoding="utf-8")
    found = re.findall(r'([\w-]+) = v "([^"]+)"', text)
    found += re.findall(r'pname = "([^"]+)"; version = "([^"]+)"', text)
    repeated = [(name, version) for name, version in found if name in pins]
    assert len(repeated) > len(pins) // 4
    assert [(n, v, pins[n]) for n, v in repeated if v != pins[n]] == []


def test_an_environment_made_from_the_pins_has_them(pins):
    stamp = READY.read_text(encoding="utf-8").split() if READY.exists() else []
    if not stamp or Path(stamp[-1]).name != PINS.name:
        pytest.skip(f"{sys.prefix} was not made from {PINS.name}")
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    listed = {name: v for name, v in installed.items() if not UNLISTED.fullmatch(name)}
    differing = {n: (v, pins.get(n)) for n, v in listed.items() if v != pins.get(n)}
    missing = pins.keys() - listed.keys() - ON_SOME_SYSTEMS
    assert (differing, missing) == ({}, set()), (
        f"installed, and listed in {PINS.name}; to make the environment from nothing: "
        f"rm -r {sys.prefix} && make {Path(sys.prefix).name}/.ready"
    )
