"""How fast the machine is: two figures, by a clock of the test's own."""

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
