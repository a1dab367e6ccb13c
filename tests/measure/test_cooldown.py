"""Waiting for a cooler machine, on a clock that only the test's sleep moves."""

from types import SimpleNamespace

import pytest

from harness.config.order_settings import Cooldown
from harness.machine.heat import HeatReading
from harness.measure.bench import _gpus_of_run
from harness.measure.cooldown import Cooler, first_heat
from harness.measure.schedule import schedule
from harness.plan.cell import Cell
from harness.records.order import Cooling, Heat
from harness.runtime.strategy import resolve
from tests.measure.scheduling import make_plan, make_store, record_of

BACK = Cooldown(back_to_start_k=3, max_wait_s=120)


class Machine:
    """Cools by a kelvin with every second that is slept."""

    def __init__(self, cpu=None, *, floor=40.0, limit=None, **others):
        self.celsius = {"cpu": cpu, **others} if cpu is not None else dict(others)
        self.floor, self.limit = floor, limit
        self.now = 0.0

    def read(self):
        return HeatReading(celsius=dict(self.celsius), cpu_clock_limit_percent=self.limit)

    def sleep(self, seconds):
        self.now += seconds
        for name, value in self.celsius.items():
            self.celsius[name] = max(self.floor, value - seconds)
        if self.limit is not None:
            self.limit = min(100.0, self.limit + seconds)

    def clock(self):
        return self.now

    def cooler(self, settings, **first):
        return Cooler(
            settings=settings,
            read=self.read,
            first=Heat(**first) if first else None,
            clock=self.clock,
            sleep=self.sleep,
        )


def test_the_first_trial_waits_for_nothing_and_is_what_others_wait_for():
    machine = Machine(45.0)
    cooler = machine.cooler(BACK)
    first = cooler.wait()
    assert (first.waited_s, first.reached) == (0.0, True)
    machine.celsius["cpu"] = 71.0
    second = cooler.wait()
    assert second.waited_s == 71 - 48
    assert second.reached
    assert second.target.celsius == {"cpu": 48.0}
    assert (second.due.celsius, second.start.celsius) == ({"cpu": 71.0}, {"cpu": 48.0})
    assert second.rule == "back_to_start_k: 3"


def test_it_waits_for_what_is_furthest_from_its_target():
    machine = Machine(50.0, **{"cuda:0": 80.0})
    cooling = machine.cooler(BACK, celsius={"cpu": 45.0, "cuda:0": 60.0}).wait()
    assert cooling.waited_s == 80 - 63


@pytest.mark.parametrize(
    "gpus, waited_s", [((), 50 - 48), ({"cuda:1"}, 55 - 53), ({"cuda:0", "cuda:1"}, 80 - 63)]
)
def test_it_waits_for_no_gpu_that_the_trial_does_not_use(gpus, waited_s):
    machine = Machine(50.0, **{"cuda:0": 80.0, "cuda:1": 55.0})
    first = {"cpu": 45.0, "cuda:0": 60.0, "cuda:1": 50.0}
    cooling = machine.cooler(BACK, celsius=first).wait(gpus=gpus)
    assert cooling.waited_s == waited_s
    assert cooling.target.celsius.keys() == {"cpu", *gpus}
    assert cooling.due.celsius == {"cpu": 50.0, "cuda:0": 80.0, "cuda:1": 55.0}


def test_it_begins_anyway_when_the_longest_wait_is_over():
    machine = Machine(90.0, floor=70.0)
    settings = Cooldown(back_to_start_k=0, max_wait_s=30.5)
    cooling = machine.cooler(settings, celsius={"cpu": 45.0}).wait()
    assert (cooling.waited_s, cooling.reached, cooling.max_wait_s) == (30.5, False, 30.5)
    assert cooling.start.celsius == {"cpu": 70.0}


def test_below_a_temperature():
    machine = Machine(66.0)
    cooling = machine.cooler(Cooldown(below_c=60)).wait()
    assert (cooling.rule, cooling.waited_s, cooling.reached) == ("below_c: 60", 6.0, True)


def test_a_clock_that_is_held_back_is_waited_for():
    machine = Machine(limit=70.0)
    cooling = machine.cooler(BACK, cpu_clock_limit_percent=95.0).wait()
    assert (cooling.waited_s, cooling.reached) == (25.0, True)
    assert cooling.start.cpu_clock_limit_percent == 95.0


@pytest.mark.parametrize(
    ("settings", "why"),
    [(None, "the study asks for no cool-down"), (BACK, "neither a temperature nor a clock limit")],
)
def test_who_has_nothing_to_wait_for_says_why(settings, why):
    machine = Machine()
    cooling = machine.cooler(settings).wait()
    assert cooling.waited_s is None
    assert cooling.reached is None
    assert why in cooling.missing["waited_s"]
    assert machine.now == 0


def test_heat_is_recorded_also_where_nothing_is_waited_for():
    machine = Machine(58.0)
    cooler = machine.cooler(None)
    cooling = cooler.wait()
    machine.celsius["cpu"] = 77.0
    cooling = cooler.after(cooling)
    assert (cooling.start.celsius, cooling.end.celsius) == ({"cpu": 58.0}, {"cpu": 77.0})
    assert machine.now == 0


def test_the_display_hears_from_where_to_where():
    said = []
    Machine(71.0).cooler(BACK, celsius={"cpu": 67.0}).wait(said.append)
    assert said == ["cooling down, cpu 71 °C → 70 °C"]
    said.clear()
    Machine(limit=70.0).cooler(BACK, cpu_clock_limit_percent=70.5).wait(said.append)
    assert said == ["cooling down, clock of the CPU limited to 70 % → 70.5 %"]


def test_a_run_that_goes_on_waits_for_the_heat_of_its_first_trial(tmp_path):
    from msgspec import structs

    (trial, *_) = schedule(make_plan("a"), make_store(tmp_path))
    older = record_of(trial)
    cold = structs.replace(older, cooling=Cooling(due=Heat(celsius={"cpu": 41.0})))
    warm = structs.replace(older, cooling=Cooling(due=Heat(celsius={"cpu": 80.0})))
    assert first_heat([older, cold, warm]).celsius == {"cpu": 41.0}
    assert first_heat([older]) is None


def cell(strategy):
    return Cell(model="m", engine="fake", strategy=strategy, workload="speed", threads=1)


def test_the_gpus_of_all_cells_that_run_are_read():
    plans = {s: resolve(s, 2) for s in ("cpu fp32", "cuda fp16", "cuda:1 fp16 *1 -> cpu fp32")}

    def gpus(*strategies):
        """Of cells with these strategies; of one that is not in `plans` the layers are unknown."""
        cells = [cell(strategy) for strategy in strategies]
        planned = SimpleNamespace(running=[SimpleNamespace(cell=one) for one in cells])
        return _gpus_of_run(planned, {one: plans.get(one.strategy) for one in cells})

    assert gpus("cpu fp32") == frozenset()
    assert gpus(*plans) == {"cuda:0", "cuda:1"}
    assert gpus("cuda fp16", "cpu fp16") == {"cuda:0"}
    assert gpus("cpu fp32", "cuda:2 fp16") is None
