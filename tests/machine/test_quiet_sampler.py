"""When sources are read, and what is made of the readings: with a clock that a test turns."""

import pytest

from harness.machine.facts import NotKnown
from harness.machine.quiet import Probes, Sampler
from harness.machine.quiet.probes import ALL_FIGURES


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Scripted:
    """A source that tells how often it was read, and when it fails."""

    def __init__(self, name="n", *, sampled=True, fails_at=None, silent=False):
        self.figures = (name,)
        self.sampled = sampled
        self._fails_at, self._silent = fails_at, silent
        self.workers = []

    def read(self, worker):
        self.workers.append(worker)
        if len(self.workers) == self._fails_at:
            raise NotKnown("it broke")
        return len(self.workers)

    def tell(self, readings, seconds):
        if self._silent:
            raise NotKnown("too short")
        return {self.figures[0]: (tuple(readings), seconds)}


@pytest.fixture
def clock():
    return Clock()


def test_a_sample_a_second_however_often_the_parent_wakes(clock):
    often, seldom = Scripted("often"), Scripted("seldom", sampled=False)
    sampler = Sampler([often, seldom], clock)
    sampler.begin(50)
    for _ in range(40):
        clock.now += 0.1
        sampler.tick()
    clock.now += 0.05
    seen = sampler.end()
    assert seen.figures["seldom"] == ((1, 2), pytest.approx(4.05))
    assert len(seen.figures["often"][0]) == seen.samples
    assert 5 <= seen.samples <= 6
    assert set(often.workers) == {50}


def test_beginning_again_forgets_what_came_before(clock):
    source = Scripted()
    sampler = Sampler([source], clock)
    sampler.begin(50)
    clock.now += 60
    sampler.begin(50)
    clock.now += 2
    seen = sampler.end()
    assert seen.figures == {"n": ((2, 3), 2.0)}
    assert seen.samples == 2


def test_a_source_that_failed_is_not_asked_again(clock):
    source, other = Scripted(fails_at=2), Scripted("other")
    sampler = Sampler([source, other], clock)
    sampler.begin(50)
    for _ in range(3):
        clock.now += 1
        sampler.tick()
    seen = sampler.end()
    assert len(source.workers) == 2
    assert seen.missing == {"n": "it broke"}
    assert len(seen.figures["other"][0]) == 5


def test_what_cannot_be_told_is_missing_with_the_reason(clock):
    sampler = Sampler([Scripted(silent=True)], clock)
    sampler.begin(50)
    seen = sampler.end()
    assert (seen.figures, seen.missing) == ({}, {"n": "too short"})


def test_with_probes_off_every_figure_is_missing(clock, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    sampler = Sampler(Probes().sources(gpus=None), clock)
    sampler.begin(50)
    sampler.tick()
    seen = sampler.end()
    assert seen.figures == {}
    assert seen.missing.keys() == set(ALL_FIGURES)
    assert all("switched off" in why for why in seen.missing.values())
