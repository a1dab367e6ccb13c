"""How fast the machine is: two figures, by a clock of the test's own."""

import os

import pytest

from harness.machine import speed_probe
from harness.machine.speed_probe import probe_speed


class Clock:
    """Lets each piece of work take what comes next in a list."""

    def __init__(self, *seconds):
        self._readings = []
        now = 0.0
        for one in seconds:
            self._readings += [now, now + one]
            now += 100.0

    def perf_counter(self):
        return self._readings.pop(0)


def test_the_best_counts_whatever_most_of_the_time_was_like(monkeypatch):
    """A machine that is twice as slow while it is probed, but for a moment, is as fast as then."""
    python, copies = [4.0] * 8, [0.5] * 8
    python[4], copies[2] = 2.0, 0.25
    turns = [one for pair in zip(python, copies, strict=True) for one in pair]
    monkeypatch.setattr(speed_probe, "time", Clock(*turns))
    speed = probe_speed()
    assert speed.python_s == 2.0
    assert speed.copy_bytes_per_s == 2 * 2**25 / 0.25  # read, and written


def test_the_probe_copies_more_than_most_caches_hold_and_works_each_time(monkeypatch):
    done = []
    monkeypatch.setattr(speed_probe, "_python_work", lambda: done.append("python"))
    copyto = speed_probe.np.copyto

    def copy(target, source):
        done.append(source.nbytes)
        assert source.any()  # its pages are there
        copyto(target, source)

    monkeypatch.setattr(speed_probe.np, "copyto", copy)
    speed = probe_speed()
    assert done == ["python", 2**25] * 8
    assert speed.copy_bytes_per_s > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system keeps no such list")
def test_each_processor_is_tried_and_all_are_usable_again(monkeypatch):
    usable, tried = os.sched_getaffinity(0), []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {5, 2, 9})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, wanted: tried.append(wanted))
    probe_speed()
    assert tried == [{2}, {5}, {9}, {2}, {5}, {9}, {2}, {5}, {2, 5, 9}]
    monkeypatch.undo()
    probe_speed()
    assert os.sched_getaffinity(0) == usable


def test_a_system_that_lets_nobody_choose_a_processor_is_probed_all_the_same(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert probe_speed().python_s > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system keeps no such list")
def test_a_processor_that_is_taken_away_is_passed_over(monkeypatch):
    def refuse(_pid, _wanted):
        raise OSError("Invalid argument")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert probe_speed().copy_bytes_per_s > 0
