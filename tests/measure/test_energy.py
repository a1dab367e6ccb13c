"""Joules per token of a trial: windows around the passes, and what is taken at rest."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.config.study import Speed
from harness.engines.base import Capabilities
from harness.machine.energy import Meter
from harness.measure.energy import Baseline, Windows, energy_of, energy_windows
from harness.measure.job import Passed
from harness.measure.speed import measure_speed
from harness.records.energy import PassEnergy, Spent
from harness.records.latency import Prefill


class Machine:
    """A session whose work costs time and joules, and the counter that tells of them."""

    name, method, wraps_at_j = "package-0", "RAPL", 100_000.0
    most_w, renewed_s = 1000.0, 0.001

    def __init__(self, start=99_998.0):
        self.spent = start
        self.now = 0.0
        self.capabilities = Capabilities(n_vocab=9)

    def prefill(self, ids, state):
        self._work(0.25 * ids.shape[1], 0.5 * ids.shape[1])
        return np.zeros((1, 9)), 0

    def step(self, ids, state):
        self._work(0.1, 3.0)
        return np.zeros((1, 9)), 0

    def synchronize(self):
        pass

    def _work(self, seconds, joules):
        self.now += seconds
        self.spent += joules

    def joules(self):
        return self.spent % self.wraps_at_j

    def clock(self):
        return self.now

    def meter(self):
        return Meter(counters=(self,), missing={"GPU": "none"}, clock=self.clock)


HUNGRY = {"a": 5.0, "b": 5.0}  # in the windows below less was taken


def idle_of(watts):
    return Baseline(watts=watts, watched_s=3.0)


def test_each_measured_pass_has_its_joules_to_the_last_one():
    machine, sent = Machine(), []
    measure_speed(
        machine,
        Speed(prompt_tokens=[2, 4], generate_tokens=5, passes=2, warmup_passes=1),
        0,
        machine.clock,
        sent.append,
        energy=Windows(machine.meter()),
    )
    passes = [one for one in sent if isinstance(one, Passed)]
    for one in passes:
        assert one.energy.prefill == Spent(s=pytest.approx(1.5), joules={"package-0": 3.0})
        assert one.energy.decode == Spent(s=pytest.approx(0.5), joules={"package-0": 15.0})
    found = energy_of(sent, 1, idle_of({"package-0": 2.0}))
    assert (found.prefill_tokens, found.decode_tokens) == (12, 10)
    assert found.prefill_j_per_token == pytest.approx(0.5)
    assert found.decode_j_per_token == pytest.approx(3.0)
    # At rest the machine takes 2 W: in 0.5 s per pass of 5 tokens, 0.2 J for each of them.
    assert found.decode_net_j_per_token == pytest.approx(2.8)
    assert found.prefill_net_j_per_token == pytest.approx(0.0)
    assert found.counters == {"package-0": "RAPL"}
    assert found.missing == {"not counted: GPU": "none"}


def test_a_session_that_does_not_say_where_it_lies_is_not_metered():
    assert energy_windows(SimpleNamespace(effective_plan=list)) is None


def test_without_a_meter_nothing_is_sent():
    machine, sent = Machine(), []
    measure_speed(machine, Speed(passes=1), 0, machine.clock, sent.append)
    assert energy_of(sent, 1, Baseline()) is None


def passed(decode, methods=None, missing=None):
    return Passed(
        prefill=[Prefill(tokens=4, s=1.0)],
        decode_s=[0.1] * 4,
        energy=PassEnergy(
            methods={"a": "RAPL", "b": "NVML"} if methods is None else methods,
            missing=missing or {},
            prefill=Spent(s=1.0, joules={"a": 1.0, "b": 2.0}),
            decode=decode,
        ),
    )


def test_counters_add_up_and_rows_share_what_they_take():
    found = energy_of(
        [passed(Spent(s=2.0, joules={"a": 6.0, "b": 10.0}))] * 3, 2, idle_of({"a": 1.0, "b": 2.0})
    )
    assert found.decode_j == {"a": 18.0, "b": 30.0}
    assert found.decode_tokens == 3 * 4 * 2
    assert found.decode_j_per_token == pytest.approx(48 / 24)
    assert found.decode_net_j_per_token == pytest.approx((48 - 3.0 * 6.0) / 24)
    assert found.prefill_tokens == 3 * 4 * 2
    assert found.prefill_j_per_token == pytest.approx(9 / 24)


def test_only_what_was_counted_is_set_against_the_idle_machine():
    found = energy_of(
        [passed(Spent(s=2.0, joules={"a": 6.0, "b": 10.0}))],
        1,
        idle_of({"a": 1.0, "b": 2.0, "cuda:1": 100.0}),
    )
    assert found.decode_net_j_per_token == pytest.approx((16 - 2.0 * 3.0) / 4)


def test_less_than_the_idle_machine_takes_is_no_figure():
    found = energy_of([passed(Spent(s=2.0, joules={"a": 6.0, "b": 10.0}))], 1, idle_of(HUNGRY))
    assert found.decode_j_per_token == pytest.approx(4.0)
    assert found.decode_net_j_per_token is None
    assert "more than in the window" in found.missing["decode_net_j_per_token"]


def test_a_counter_that_is_silent_once_leaves_no_sum():
    silent = Spent(s=2.0, joules={"a": 6.0}, missing={"b": "the counter did not move"})
    found = energy_of(
        [passed(Spent(s=2.0, joules={"a": 1.0, "b": 1.0})), passed(silent)], 1, idle_of({})
    )
    assert found.decode_j == {"a": 7.0}
    assert found.decode_j_per_token is None
    assert found.missing["decode_j_per_token"] == "b: the counter did not move"
    assert found.prefill_j_per_token == pytest.approx(6 / 8)
    assert "idle" in found.missing["prefill_net_j_per_token"]


def test_a_machine_without_counters_says_why():
    found = energy_of(
        [passed(Spent(s=1.0), methods={}, missing={"processor": "no"})], 1, Baseline()
    )
    assert found.decode_j_per_token is None
    assert found.missing["decode_j_per_token"] == "processor: no"


def test_the_idle_machine_is_watched_once():
    machine, slept, said = Machine(), [], []

    def sleep(seconds):
        slept.append(seconds)
        machine._work(seconds, 12.0)

    idle = Baseline(open=machine.meter, sleep=sleep, seconds=4.0)
    idle.watch(said.append)
    idle.watch(said.append)
    assert slept == [4.0]
    assert idle.watts == {"package-0": pytest.approx(3.0)}
    assert idle.watched_s == pytest.approx(4.0)
    assert len(said) == 1


def test_without_counters_nobody_waits():
    idle = Baseline(open=lambda: Meter(missing={"processor": "no"}), sleep=pytest.fail)
    idle.watch()
    assert idle.watts == {}
