"""How much memory is left, from recorded files."""

import pytest

from harness.machine.room import available_bytes, parse_cache_bytes

MIB = 2**20
MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1024 kB\nMemAvailable: 8388608 kB\n"


@pytest.fixture
def root(tmp_path):
    """Write files below a root of their own."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_what_the_kernel_calls_available_is_left(root):
    at = root(proc__meminfo=MEMINFO)
    assert available_bytes(at, "linux").bytes == 8 * 2**30


def test_a_kernel_that_does_not_say_gives_a_reason(root):
    reading = available_bytes(root(proc__meminfo="MemTotal: 1 kB\n"), "linux")
    assert reading.bytes is None
    assert "MemAvailable" in reading.missing


def test_the_smallest_room_on_the_way_up_decides(root):
    cgroup = "sys__fs__cgroup__a__"
    at = root(
        **{
            "proc__meminfo": MEMINFO,
            "proc__self__cgroup": "0::/a/b\n",
            f"{cgroup}memory_dot_max": f"{900 * MIB}",
            f"{cgroup}memory_dot_current": f"{500 * MIB}",
            f"{cgroup}memory_dot_stat": f"anon 5\ninactive_file {100 * MIB}\n",
            f"{cgroup}b__memory_dot_max": "max",
        }
    )
    assert available_bytes(at, "linux").bytes == 500 * MIB


def test_version_1_is_read_with_its_own_names(root):
    cgroup = "sys__fs__cgroup__memory__"
    at = root(
        **{
            "proc__meminfo": MEMINFO,
            "proc__self__cgroup": "4:memory:/of/the/host\n",
            f"{cgroup}memory_dot_limit_in_bytes": f"{300 * MIB}",
            f"{cgroup}memory_dot_usage_in_bytes": f"{400 * MIB}",
            f"{cgroup}memory_dot_stat": f"inactive_file 1\ntotal_inactive_file {250 * MIB}\n",
        }
    )
    assert available_bytes(at, "linux").bytes == 150 * MIB


def test_what_would_be_given_back_first():
    assert parse_cache_bytes("anon 5\n") == 0
    assert parse_cache_bytes("anon 5\ninactive_file 7\n") == 7


def test_without_probes_nothing_is_known(root, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert available_bytes(root(proc__meminfo=MEMINFO), "linux").bytes is None
