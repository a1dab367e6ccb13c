import hashlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from harness.machine.distributions import (
    distributions_sha256,
    find_distributions,
    normalised,
    parse_folder_name,
    parse_metadata,
)


def versions(*path):
    return {name: one.version for name, one in find_distributions(map(str, path)).items()}


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of the search path, with these metadata files."""

    def make(name, *files, text=""):
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    "name, said",
    [
        ("numpy-1.24.2.dist-info", ("numpy", "1.24.2")),
        ("torch-2.0.1+cu118.dist-info", ("torch", "2.0.1+cu118")),
        ("pytest_benchmark-4.0.0.dist-info", ("pytest_benchmark", "4.0.0")),
        ("PyYAML-6.0-py3.10-linux-x86_64.egg-info", ("PyYAML", "6.0")),
        ("six-1.16.0-py3.10.egg-info", ("six", "1.16.0")),
        ("rwkv_harness.egg-info", None),  # of a checkout: no version
        ("odd-1.0_1.dist-info", None),  # was it 1.0-1?
        ("other-things.dist-info", None),
    ],
)
def test_what_the_name_of_a_folder_says(name, said):
    assert parse_folder_name(name) == said


@pytest.mark.parametrize("name", ["Ruamel.yaml_clib", "ruamel-yaml--clib", "RUAMEL._-yaml.clib"])
def test_names_are_normalised(name):
    assert normalised(name) == "ruamel-yaml-clib"


def test_only_headers_are_read():
    text = "Metadata-Version: 2.1\nName: a\nVersion: 1\nSummary: Name: c\n\nName: b\nVersion: 2\n"
    assert parse_metadata(text) == ("a", "1")
    assert parse_metadata("Name: a\n\nVersion: 2\n") is None


def test_they_are_sorted_and_the_metadata_fills_in_what_a_name_does_not_say(folder):
    site = folder("site", "numpy-1.24.2.dist-info/METADATA", "six-1.16.0-py3.10.egg-info")
    folder("site", "Mine.egg-info/PKG-INFO", text="Name: Mine\nVersion: 0.3.dev1\n\nwords")
    folder("site", "odd-1.0_1.dist-info/METADATA", text="Name: odd\nVersion: 1.0-1\n")
    assert list(versions(site).items()) == [
        ("mine", "0.3.dev1"),
        ("numpy", "1.24.2"),
        ("odd", "1.0-1"),
        ("six", "1.16.0"),
    ]


def test_of_two_the_first_on_the_path_wins(folder):
    user = folder("user", "numpy-1.26.0.dist-info/METADATA")
    site = folder("site", "Numpy-1.24.2.dist-info/METADATA", "rich-13.3.1.dist-info/METADATA")
    assert versions(user, site) == {"numpy": "1.26.0", "rich": "13.3.1"}
    assert versions(site, user, site) == {"numpy": "1.24.2", "rich": "13.3.1"}
    assert find_distributions([str(user), str(site)])["numpy"].folder == user


def test_what_is_left_of_a_broken_upgrade_is_none(folder):
    site = folder("site", "~umpy-1.0.dist-info/METADATA", "numpy-1.24.2.dist-info/METADATA")
    (site / "torch-1.0.dist-info").mkdir()
    folder("site", "broken.dist-info/METADATA", text="Name: broken\n")
    assert versions(site) == {"numpy": "1.24.2"}


def test_an_egg_is_found(folder):
    egg = folder("old-1.0-py3.10.egg", "EGG-INFO/PKG-INFO", text="Name: old\nVersion: 1.0\n")
    assert versions(egg) == {"old": "1.0"}


def test_what_is_no_folder_holds_nothing(tmp_path):
    (tmp_path / "lib.zip").write_bytes(b"PK")
    assert versions(tmp_path / "lib.zip", tmp_path / "none", "__editable__.x.__path_hook__") == {}


def test_here_it_finds_what_the_standard_library_finds():
    path = [entry for entry in sys.path if entry and Path(entry).is_dir()]
    expected = {}
    for one in importlib.metadata.distributions(path=path):
        if one.metadata["Name"]:
            expected.setdefault(normalised(one.metadata["Name"]), one.version)
    assert versions(*path) == expected


def test_the_hash_is_of_names_and_versions_in_whatever_order():
    one = distributions_sha256({"numpy": "1.24.2", "rich": "13.3.1"})
    assert one == hashlib.sha256(b'{"numpy":"1.24.2","rich":"13.3.1"}').hexdigest()
    assert one == distributions_sha256({"rich": "13.3.1", "numpy": "1.24.2"})
    assert one != distributions_sha256({"numpy": "1.24.2", "rich": "13.3.2"})
