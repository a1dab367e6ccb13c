import pytest

from harness.machine import MemoryReading, peak_rss_bytes, rss_bytes
from harness.machine.memory import maxrss_bytes, parse_oom_kills, peak_rss_since_restart


def test_linux_reads_the_status_of_the_process(server):
    assert rss_bytes(server, "linux") == MemoryReading(bytes=998244 * 1024)
    assert peak_rss_bytes(server, "linux") == MemoryReading(bytes=1523440 * 1024)


def test_a_kernel_without_the_figure_gives_the_reason(make_root):
    root = make_root({"proc/self/status": "Name:\tpython\nVmRSS:\t 10 kB\n"})
    assert rss_bytes(root, "linux") == MemoryReading(bytes=10240)
    assert peak_rss_bytes(root, "linux").missing == "the kernel does not say VmHWM"
    assert peak_rss_bytes(root / "nowhere", "linux").bytes is None


def test_elsewhere_the_system_is_asked(tmp_path):
    assert rss_bytes(tmp_path, "freebsd").bytes > 2**20
    assert peak_rss_bytes(tmp_path, "freebsd").bytes > 2**20


@pytest.mark.parametrize("platform, expected", [("darwin", 5000), ("freebsd", 5000 * 1024)])
def test_units_of_getrusage(platform, expected):
    assert maxrss_bytes(5000, platform) == expected


def test_the_peak_is_at_least_what_is_resident():
    now, peak = rss_bytes(), peak_rss_bytes()
    if now.bytes is None or peak.bytes is None:
        pytest.skip("this system does not say")
    assert peak.bytes >= now.bytes


def test_probes_switched_off(monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert rss_bytes() == peak_rss_bytes() == MemoryReading(missing="probes are switched off")
    assert peak_rss_since_restart(restarted=True).missing == "probes are switched off"


def test_kills_are_those_of_the_line_of_that_name():
    assert parse_oom_kills("oom_kill_x 9\npgfault 7\noom_kill 3\n") == 3
    assert parse_oom_kills("pgfault 7\n") == 0
