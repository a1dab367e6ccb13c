"""flake.lock: the revision that is promised, accepted as it is."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / "flake.lock").exists(), reason="not a checkout")

# The last revision of nixos-23.05: the channel's release 23.05.5533.70bdadeb94ff of 2024-01-03.
NIXPKGS = {
    "type": "github",
    "owner": "NixOS",
    "repo": "nixpkgs",
    "rev": "70bdadeb94ffc8806c0570eb5c2695ad29f0e421",
    "narHash": "sha256-LWvKHp7kGxk/GEtlrGYV68qIvPHkU9iToomNFGagixU=",
    "lastModified": 1704290814,
}


def lock():
    return json.loads((ROOT / "flake.lock").read_text())


def test_the_only_input_is_the_last_nixos_23_05():
    nodes = lock()["nodes"]
    assert nodes["root"]["inputs"] == {"nixpkgs": "nixpkgs"}
    assert sorted(nodes) == ["nixpkgs", "root"]
    assert nodes["nixpkgs"]["locked"] == NIXPKGS
    assert nodes["nixpkgs"]["original"]["ref"] == "nixos-23.05"


def test_nix_accepts_the_lock_unchanged(nix):
    before = (ROOT / "flake.lock").read_bytes()
    options = ["--json", "--no-update-lock-file", "."]
    metadata = json.loads(nix("flake", "metadata", *options, override=False))
    assert metadata["locks"] == json.loads(before)
    assert (ROOT / "flake.lock").read_bytes() == before


def test_a_lock_of_other_inputs_is_refused(nix, copy):
    flake = copy / "flake.nix"
    named = "github:NixOS/nixpkgs/nixos-23.05"
    assert named in flake.read_text()
    flake.write_text(flake.read_text().replace(named, f"git+file://{nix.stand_in}"))
    options = ["--no-update-lock-file", "."]
    said = nix.refuses("flake", "metadata", *options, cwd=copy, override=False)
    assert "requires lock file changes" in said
