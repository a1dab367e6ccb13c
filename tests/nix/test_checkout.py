"""nix/checkout.sh: the developers' shell finds the checkout that it is started in."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "nix/checkout.sh"
SHOW = 'source "$1"; printf "%s|%s" "${PYTHONPATH-unset}" "${PYTHONHOME-unset}"'

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not a checkout")


def started_in(folder):
    """PYTHONPATH and PYTHONHOME after the script, and what it complained of."""
    done = subprocess.run(
        ["bash", "-euc", SHOW, "shell", SCRIPT],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/other", "PYTHONHOME": "/h"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,  # it goes up until it finds one
    )
    return *done.stdout.split("|"), done.stderr


@pytest.mark.parametrize("name", ["checkout", "a  check out", "it's $HOME *"])
@pytest.mark.parametrize("below", [".", "tests/nix"])
def test_the_checkout_is_found_from_wherever_in_it(tmp_path, name, below):
    checkout = tmp_path / name
    (checkout / "harness").mkdir(parents=True)
    (checkout / "harness/__main__.py").touch()
    (checkout / below).mkdir(parents=True, exist_ok=True)
    assert started_in(checkout / below) == (str(checkout), "unset", "")


def test_elsewhere_it_says_so_and_nothing_of_the_callers_is_kept(tmp_path):
    path, home, said = started_in(tmp_path)
    assert (path, home) == ("unset", "unset")
    assert "no checkout of rwkv-harness" in said
