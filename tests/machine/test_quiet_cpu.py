"""What others do with the processors, from recorded text of Linux."""

import pytest

from harness.machine.facts import NotKnown
from harness.machine.quiet.cpu_time import (
    CpuTime,
    CpuTimes,
    CpuWait,
    parse_process,
    parse_schedstat,
    parse_stat,
)

STAT = "cpu  {busy} 0 449509 1453627 19056 7 5804 {stolen} 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 5\n"
PROCESS = (
    "{pid} (py (x) thon) S 1 7 7 0 -1 4194560 1 2 3 4 {user} 10 {children} 5 20 0 3 0 4 5 6 7\n"
)


def process(pid, user, children=0):
    return PROCESS.format(pid=pid, user=user, children=children)


def at(make_root, busy, stolen, processes, children=None):
    """The file system at one moment: user time of processes, by their numbers."""
    files = {"proc/stat": STAT.format(busy=busy, stolen=stolen)}
    files |= {f"proc/{pid}/stat": process(pid, *ticks) for pid, ticks in processes.items()}
    files |= {f"proc/{pid}/task/{pid}/children": said for pid, said in (children or {}).items()}
    return make_root(files)


def test_the_line_of_all_processors():
    assert parse_stat(STAT.format(busy=3176494, stolen=9123)) == (3176494 + 449509 + 7 + 5804, 9123)
    assert parse_stat("cpu  1 2 3 4 5 6 7") == (1 + 2 + 3 + 6 + 7, 0)


def test_a_process_whose_name_has_spaces_and_brackets():
    assert parse_process(process(42, user=100, children=30)) == (110, 35)


def test_nanoseconds_of_a_thread():
    found = parse_schedstat("2500000000 500000000 12\n")
    assert (found.ran_s, found.waited_s) == (2.5, 0.5)


def test_what_is_ours_is_not_others(make_root):
    """Over 4 s others use 600 ticks of 10 ms, while the worker and its child use more."""
    children = {50: "51\n", 51: ""}
    root = at(make_root, 1000, 0, {"self": (10,), 50: (100,), 51: (0,)}, children)
    source = CpuTime(root, ticks_per_s=100)
    first = source.read(50)
    # Of our own children, which are other trials, nothing counts; of the worker's, what ended.
    at(make_root, 2000, 0, {"self": (20, 999), 50: (300, 40), 51: (150,)}, children)
    figures = source.tell([first, source.read(50)], seconds=4.0)
    assert figures["other_cpu_cores"] == pytest.approx((1000 - 10 - 240 - 150) / 100 / 4)
    assert figures["steal_share"] == 0


def test_stolen_time_is_a_share_of_what_was_wanted(make_root):
    root = at(make_root, 0, 100, {"self": (0,), 50: (0,)})
    source = CpuTime(root, ticks_per_s=100)
    first = source.read(50)
    at(make_root, 300, 200, {"self": (0,), 50: (300,)})
    figures = source.tell([first, source.read(50)], seconds=10.0)
    assert figures == {"other_cpu_cores": 0.0, "steal_share": pytest.approx(0.25)}


def test_a_worker_that_is_gone_has_used_nothing_more(make_root):
    source = CpuTime(at(make_root, 0, 0, {"self": (0,)}), ticks_per_s=100)
    assert source.read(50).own_s == pytest.approx(0.1)  # the 10 ticks of system time of "self"


def test_too_short_to_tell(make_root):
    source = CpuTime(at(make_root, 0, 0, {"self": (0,)}), ticks_per_s=100)
    with pytest.raises(NotKnown, match=r"0\.10 s is too short"):
        source.tell([source.read(50)] * 2, seconds=0.1)


@pytest.mark.parametrize("text", ["", "cpu one two", "intr 5"])
def test_what_is_not_understood_is_not_known(text, make_root):
    source = CpuTime(make_root({"proc/stat": text}), ticks_per_s=100)
    with pytest.raises(NotKnown, match="/proc/stat"):
        source.read(50)


def test_waiting_for_a_processor_is_summed_over_threads(make_root):
    def waits(ran, waited):
        return make_root(
            {f"proc/50/task/{thread}/schedstat": f"{ran} {waited} 1" for thread in (50, 51)}
        )

    source = CpuWait(waits(0, 0))
    readings = [source.read(50)]
    waits(1_500_000_000, 500_000_000)
    readings.append(source.read(50))
    assert source.tell(readings, seconds=2.0) == {"cpu_wait_share": pytest.approx(0.25)}


def test_threads_that_ended_do_not_undo_what_was_seen(make_root):
    source = CpuWait(make_root({"proc/50/task/50/schedstat": "0 0 1"}))
    readings = [source.read(50)]
    make_root({"proc/50/task/50/schedstat": "3000000000 1000000000 1"})
    readings.append(source.read(50))
    make_root({"proc/50/task/50/schedstat": "1000 1000 1"})
    readings.append(source.read(50))
    assert source.tell(readings, seconds=4.0) == {"cpu_wait_share": pytest.approx(0.25)}


def test_a_worker_that_never_ran_waited_for_nothing(make_root):
    source = CpuWait(make_root({"proc/50/task/50/schedstat": "5 5 1"}))
    assert source.tell([source.read(50)] * 2, seconds=1.0) == {"cpu_wait_share": 0.0}


def test_without_schedstat(make_root):
    with pytest.raises(NotKnown, match="nothing there"):
        CpuWait(make_root({})).read(50)


def test_more_of_ours_than_of_all_is_no_negative_number():
    """The kernel's counters of one moment are not read at one moment."""
    readings = [CpuTimes(busy_s=1, stolen_s=0, own_s=0), CpuTimes(busy_s=2, stolen_s=0, own_s=1.5)]
    assert CpuTime(None, ticks_per_s=100).tell(readings, 1.0)["other_cpu_cores"] == 0.0
