"""Limits of memory: where they come from, how they are held, and what is kept of it."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.config.limit_settings import Limits
from harness.machine.memory import MemoryReading
from harness.measure import cgroup, memory_guard
from harness.measure.cgroup import Cgroup, NoCgroup, make_cgroup, parse_oom_kill
from harness.measure.judge import judge
from harness.measure.memory_guard import LOOK_S, MemoryGuard
from harness.measure.memory_limit import MemoryRoom, memory_room
from harness.measure.process import run_job
from harness.measure.watchdog import tree, tree_bytes
from harness.records.limits import MemoryLimit
from tests.measure.test_worker_processes import JOB, LONG_S

MIB = 2**20
GIB = 2**30
ALLOCATE = (
    "imported()\nheld = bytearray({n})\nheld[::4096] = b'x' * len(range(0, {n}, 4096))\nhang()"
)


@pytest.mark.parametrize(
    ("memory", "available", "room"),
    [
        ("12GiB", 1, MemoryRoom(bytes=12 * GIB, source="study")),
        ("none", 1, MemoryRoom(missing="the study asks for none")),
        ("auto", 100 * GIB, MemoryRoom(bytes=95 * GIB, source="available")),
        ("auto", 4 * GIB, MemoryRoom(bytes=4 * GIB - 512 * MIB, source="available")),
        ("auto", 1, MemoryRoom(bytes=0, source="available")),
    ],
)
def test_the_limit_is_the_studys_or_what_is_left_less_a_reserve(memory, available, room):
    assert memory_room(Limits(memory=memory), MemoryReading(bytes=available)) == room


def test_where_nothing_is_known_there_is_no_limit_and_a_reason():
    room = memory_room(Limits(), MemoryReading(missing="no such file"))
    assert room.bytes is None
    assert room.missing == "what is available is not known: no such file"


def process(root, pid, rss, swap=0, children=""):
    folder = root / "proc" / str(pid)
    (folder / "task" / str(pid)).mkdir(parents=True)
    (folder / "status").write_text(
        f"Name:\tx\nVmHWM:\t9 kB\nVmRSS:\t{rss} kB\nVmSwap:\t{swap} kB\n"
    )
    (folder / "task" / str(pid) / "children").write_text(children)


def test_a_process_is_counted_with_all_below_it_and_what_is_swapped(tmp_path):
    process(tmp_path, 10, 100, children="11 12 ")
    process(tmp_path, 11, 20, swap=5)
    process(tmp_path, 12, 3, children="13")
    process(tmp_path, 13, 1)
    process(tmp_path, 14, 10_000)  # somebody else's
    assert tree(10, tmp_path) == [10, 11, 12, 13]
    assert tree_bytes(10, tmp_path, "linux") == (100 + 20 + 5 + 3 + 1) * 1024


def test_a_process_that_is_gone_counts_nothing(tmp_path):
    process(tmp_path, 10, 100, children="11")
    assert tree_bytes(10, tmp_path, "linux") == 100 * 1024
    assert tree_bytes(9, tmp_path, "linux") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_that_a_fork_shares_are_not_counted_twice(tmp_path):
    process(tmp_path, 10, 600 * 1024, children="11")
    process(tmp_path, 11, 600 * 1024)
    guard = MemoryGuard(MemoryRoom(bytes=1000 * MIB, source="study"), tmp_path)
    guard.begin(10)
    assert guard.is_passed(0.0)  # nothing tells what they share
    for pid in (10, 11):
        (tmp_path / f"proc/{pid}/smaps_rollup").write_text(
            "Rss: 614400 kB\nPss: 307200 kB\nPss_Anon: 307200 kB\nSwapPss: 0 kB\n"
        )
    guard = MemoryGuard(MemoryRoom(bytes=1000 * MIB, source="study"), tmp_path)
    guard.begin(10)
    assert not guard.is_passed(0.0)
    assert guard.record().peak_bytes == 600 * MIB


def test_a_guard_looks_a_few_times_a_second_and_keeps_the_most_it_saw(tmp_path, monkeypatch):
    seen = iter([5, 9, 7])
    monkeypatch.setattr(memory_guard, "tree_bytes", lambda *_: next(seen))
    guard = MemoryGuard(MemoryRoom(bytes=10, source="study"), tmp_path)
    guard.begin(10)
    passed = [guard.is_passed(turn * LOOK_S / 4) for turn in range(12)]
    assert passed == [False] * 12
    kept = guard.record()
    assert guard.passed_bytes is None
    assert guard.pause_s == LOOK_S
    assert (kept.method, kept.peak_bytes, kept.looks) == ("watchdog", 9, 3)
    assert kept.peak_missing is None
    assert kept.missing.startswith("no cgroup: ")


def test_without_a_limit_nobody_looks(tmp_path):
    guard = MemoryGuard(MemoryRoom(missing="none"), tmp_path)
    guard.begin(10)
    assert not guard.is_passed(0.0)
    assert guard.pause_s == math.inf  # the parent may sleep on
    assert guard.record() == MemoryLimit(missing="none")


@pytest.mark.parametrize("where", ["worker", "child"])
def test_a_worker_that_takes_too_much_is_ended_and_the_limit_named(where, stand_in, tmp_path):
    take = ALLOCATE.format(n=600 * MIB)
    stand_in(
        take
        if where == "worker"
        else f"if os.fork() == 0:\n    {take!r}\n    exec({take!r})\nhang()"
    )
    room = MemoryRoom(bytes=300 * MIB, source="study")
    ended = run_job(JOB, log=tmp_path / "log", deadline_s=LONG_S, room=room)
    outcome = judge(ended, None)
    assert outcome.kind == "out_of_memory_host"
    assert outcome.limit == "limits.memory: 300 MiB"
    assert outcome.signal == signal.SIGKILL.name
    assert ended.memory.peak_bytes > 300 * MIB
    assert ended.memory.looks >= 1


def test_the_worker_is_the_first_to_go_where_memory_runs_out(stand_in, tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux has such a score")
    stand_in(
        "while open('/proc/self/oom_score_adj').read().strip() != '1000': os.sched_yield()\n"
        "imported(); finished()"
    )
    ended = run_job(JOB, log=tmp_path / "log", deadline_s=LONG_S)
    assert judge(ended, None).kind == "ok"


def hierarchy(root, *, controllers="cpu memory"):
    """A session's folders as systemd makes them: the harness's own scope below a user's slice."""
    own = root / "sys/fs/cgroup/user.slice/me.scope"
    own.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/user.slice/me.scope\n")
    (own / "cgroup.subtree_control").write_text("")
    (own.parent / "cgroup.subtree_control").write_text(controllers)
    return own.parent


def test_a_cgroup_is_made_beside_our_own(tmp_path):
    parent = hierarchy(tmp_path)
    made = make_cgroup(300 * MIB, "trial", tmp_path)
    assert made.folder == parent / "trial"
    assert (made.folder / "memory.max").read_text() == str(300 * MIB)
    assert (made.folder / "memory.oom.group").read_text() == "1"
    assert (made.folder / "memory.swap.max").read_text() == "0"
    made.add(77)
    assert (made.folder / "cgroup.procs").read_text() == "77"
    assert made.peak_bytes() is None


@pytest.mark.parametrize(
    ("controllers", "why"),
    [("cpu", "hands no memory controller down"), (None, "no control groups of version 2")],
)
def test_why_no_cgroup_can_be_made(controllers, why, tmp_path):
    if controllers is not None:
        hierarchy(tmp_path, controllers=controllers)
    with pytest.raises(NoCgroup, match=why):
        make_cgroup(1, "trial", tmp_path)


def test_a_cgroup_that_was_killed_for_memory_is_known_by_its_events(tmp_path):
    parent = hierarchy(tmp_path)
    guard = MemoryGuard(MemoryRoom(bytes=300 * MIB, source="study"), tmp_path)
    guard.begin(77)
    (folder,) = (one for one in parent.iterdir() if one.name.startswith("rwkv-harness-"))
    assert not guard.is_passed(0.0)  # the kernel sees to that
    assert guard.pause_s == math.inf
    (folder / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 2\n")
    (folder / "memory.peak").write_text(f"{300 * MIB}")
    guard.end()
    assert guard.passed_bytes == 300 * MIB
    assert (folder / "cgroup.kill").read_text() == "1"
    kept = guard.record()
    assert (kept.method, kept.missing, kept.peak_bytes) == ("cgroup", None, 300 * MIB)


def test_a_cgroup_whose_peak_is_not_told_was_filled_to_its_limit(tmp_path):
    parent = hierarchy(tmp_path)
    guard = MemoryGuard(MemoryRoom(bytes=300 * MIB, source="study"), tmp_path)
    guard.begin(77)
    (folder,) = (one for one in parent.iterdir() if one.name.startswith("rwkv-harness-"))
    (folder / "memory.events").write_text("oom_kill 1\n")
    guard.end()
    assert guard.passed_bytes == 300 * MIB
    assert "Linux 5.19" in guard.record().peak_missing
    for path in folder.iterdir():  # files that a kernel would have taken away with the folder
        path.unlink()
    guard.close()
    assert not folder.exists()


def test_a_peak_is_what_was_held_at_most_and_never_what_is_left_at_the_end(tmp_path):
    made = Cgroup(tmp_path)
    (tmp_path / "memory.current").write_text("5\n")
    assert made.peak_bytes() is None
    (tmp_path / "memory.peak").write_text("9\n")
    assert made.peak_bytes() == 9


def test_a_worker_that_is_gone_at_once_needs_no_cgroup(tmp_path, monkeypatch):
    def gone(*_, **__):
        raise ProcessLookupError

    monkeypatch.setattr(Path, "write_text", gone)
    Cgroup(tmp_path).add(77)  # how it ended is found out elsewhere


def test_where_no_process_can_be_moved_the_watchdog_looks_and_no_cgroup_is_left(
    tmp_path, monkeypatch
):
    def refused(self, pid):
        raise NoCgroup("no process can be moved into one (Permission denied)")

    parent = hierarchy(tmp_path)
    removed = []
    monkeypatch.setattr(Cgroup, "add", refused)
    monkeypatch.setattr(Cgroup, "remove", lambda self: removed.append(self.folder.parent))
    guard = MemoryGuard(MemoryRoom(bytes=300 * MIB, source="study"), tmp_path)
    guard.begin(77)
    assert removed == [parent]
    assert guard.pause_s == LOOK_S
    guard.end()
    guard.close()
    assert removed == [parent]
    kept = guard.record()
    assert kept.method == "watchdog"
    assert kept.missing == "no cgroup: no process can be moved into one (Permission denied)"


def test_where_this_user_may_write_nothing_no_cgroup_is_tried(tmp_path, monkeypatch):
    parent = hierarchy(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(NoCgroup, match="this user may make no control group here"):
        make_cgroup(1, "trial", tmp_path)
    assert not (parent / "trial").exists()


def test_a_cgroup_that_cannot_be_set_up_is_taken_away(tmp_path, monkeypatch):
    parent = hierarchy(tmp_path)

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(cgroup, "_write", refused)
    with pytest.raises(NoCgroup, match="cannot be set up"):
        make_cgroup(1, "trial", tmp_path)
    assert not (parent / "trial").exists()


def test_kills_in_a_cgroup_are_counted():
    assert parse_oom_kill("oom 3\noom_kill 2\noom_group_kill 1\n") == 2
    assert parse_oom_kill("low 0\n") == 0


def test_an_address_space_is_limited_only_where_it_is_asked_for(tmp_path):
    if sys.platform != "linux":
        pytest.skip("macOS does not hold such a limit")
    script = tmp_path / "script"
    script.write_text(f"memory: {{at: open, bytes: {4 * GIB}}}\n")
    job = msgspec.structs.replace(JOB, weights=str(script), address_space_bytes=2 * GIB)
    outcome = judge(run_job(job, log=tmp_path / "log", deadline_s=LONG_S), None)
    assert outcome.kind == "out_of_memory_host"
    assert outcome.limit == "limits.address_space: 2.00 GiB"


def test_a_worker_dies_with_a_parent_that_was_killed_also_in_the_midst_of_c_code(tmp_path):
    """The C code holds the interpreter, so that no thread of it can see the parent's end."""
    if sys.platform != "linux":
        pytest.skip("asks Linux")
    worker = (
        "import ctypes, os; from harness.measure.strays import die_with_parent; die_with_parent(); "
        "os.write(1, b'%d\\n' % os.getpid()); ctypes.PyDLL(None).sleep(20); os.write(1, b'alive')"
    )
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {worker!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as started:
        assert int(started.stdout.readline()) != started.pid
        started.kill()
        assert started.stdout.read() == b""  # ends when the last who holds the pipe is gone


@pytest.mark.parametrize(("probes", "why"), [("on", "before anybody looked"), ("off", "off")])
def test_a_peak_that_nobody_saw_has_its_reason(probes, why, tmp_path, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", probes)
    guard = MemoryGuard(MemoryRoom(bytes=10, source="study"), tmp_path)
    guard.begin(10)
    kept = guard.record()
    assert kept.peak_bytes is None
    assert why in kept.peak_missing
