"""How many caches of the last level there are."""

import pytest

from harness.machine.caches import last_level_caches

CPU = "sys/devices/system/cpu"


def processors(n, sharing):
    """`n` processors with an L1 and an L2 each, of which `sharing` share an L3."""
    files = {}
    for cpu in range(n):
        first = cpu // sharing * sharing
        for index, level, shared in (
            (0, 1, f"{cpu}"),
            (1, 1, f"{cpu}"),
            (2, 2, f"{cpu}"),
            (3, 3, f"{first}-{first + sharing - 1}"),
        ):
            folder = f"{CPU}/cpu{cpu}/cache/index{index}"
            files |= {f"{folder}/level": f"{level}\n", f"{folder}/shared_cpu_list": f"{shared}\n"}
    return files


@pytest.mark.parametrize(("n", "sharing", "caches"), [(12, 4, 3), (8, 8, 1), (4, 1, 4)])
def test_one_for_each_set_of_processors_that_share_it(n, sharing, caches, make_root):
    assert last_level_caches(make_root(processors(n, sharing)), "linux") == caches


def test_where_nothing_is_said_it_is_one(make_root, monkeypatch):
    root = make_root(processors(12, 4))
    assert last_level_caches(root, "darwin") == 1
    assert last_level_caches(root / "nowhere", "linux") == 1
    (root / CPU / "cpu0/cache/index3/level").write_text("what")
    assert last_level_caches(root, "linux") == 1
    (root / CPU / "cpu0/cache/index3/level").write_text("3")
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert last_level_caches(root, "linux") == 1
