"""What machines printed was recorded for tests; nothing in it may say whose machine it was."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RECORDED = sorted(path for path in TESTS.glob("*/recorded/*") if path.is_file())
SOMEBODYS = re.compile(r"/(home|Users|root)/|[\w.-]+@[\w-]+\.\w|\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b")


def test_there_is_something_to_look_at():
    assert {path.parent.parent.name for path in RECORDED} >= {"engines", "machine"}


@pytest.mark.parametrize(
    "path", RECORDED, ids=lambda path: f"{path.parent.parent.name}-{path.name}"
)
def test_a_recording_names_no_home_no_address_and_no_person(path):
    found = SOMEBODYS.search(path.read_text(encoding="utf-8", errors="replace"))
    assert found is None, found
