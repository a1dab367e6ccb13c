"""Records name no folder of this machine."""

import sys
import traceback
from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.measure.without_folders import folders_here, without_folders
from harness.runtime.checkpoint import read_header


def test_the_names_of_files_stay(tmp_path):
    weights = tmp_path / "alice" / "models" / "some.pth"
    text = f"{weights}: damaged; '{weights}' and {weights.parent}/other.pth"
    shown = without_folders(text, folders_here([weights]))
    assert shown == "some.pth: damaged; 'some.pth' and other.pth"


def test_a_traceback_keeps_what_leads_to_the_line():
    try:
        read_header("no-such-file.pth")
    except CheckpointError as error:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    shown = without_folders(text, folders_here([None, "builtin:quickstart"]))
    assert 'File "harness/runtime/checkpoint.py", line ' in shown
    assert str(Path.cwd()) not in shown


def test_libraries_and_the_users_folder_lose_their_place():
    library = next(one for one in sys.path if one.endswith("site-packages"))
    here = folders_here([])
    assert without_folders(f'File "{library}/torch/nn.py"', here) == 'File "torch/nn.py"'
    assert without_folders(f"{Path.home()}/notes.txt", here) == "~/notes.txt"


@pytest.mark.parametrize("text", ["/elsewhere/home/me/x", "a/home/me/x", "/home/me", "home/me/x"])
def test_only_whole_folders_are_meant(text):
    assert without_folders(text, {"/home/me": ""}) == text


def test_the_longest_folder_is_meant():
    assert without_folders("/a/b/c", {"/a": "~/", "/a/b": ""}) == "c"
