"""What a device can do at best: exact with a clock that the test moves, and finite on this CPU."""

import math

import pytest
import torch

from harness.errors import Unsupported
from harness.runtime import roofline
from harness.runtime.devices import DeviceMap
from harness.runtime.limits import LimitQuestion
from harness.runtime.roofline import COLUMNS, REPEATS, Prober

KIB = 2**10
SMALL = 256 * KIB


class Clock:
    """Moves on by the same step at every look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


class Durations:
    """Each stretch between two looks takes the next of these seconds, the last one for ever."""

    def __init__(self, *durations):
        self.now, self.left, self.is_begin = 0.0, list(durations), False

    def __call__(self):
        self.is_begin = not self.is_begin
        if not self.is_begin:
            self.now += self.left[0] if len(self.left) == 1 else self.left.pop(0)
        return self.now


def prober(step=None, devices=None):
    known = DeviceMap({"cpu": torch.device("cpu")} if devices is None else devices)
    return Prober(devices=known) if step is None else Prober(devices=known, clock=Clock(step))


def ask(kind, dtype=None, **changes):
    return LimitQuestion(
        **{"kind": kind, "device": "cpu", "dtype": dtype, "n_bytes": SMALL, "side": 64, **changes}
    )


def test_bytes_over_the_time_of_one_repetition():
    found = prober(0.01).measure(ask("read"))
    assert found.bytes_per_s == pytest.approx(SMALL / 0.01)
    assert found.flop_per_s is None
    assert found.samples_s == pytest.approx((0.01,) * REPEATS)


def test_a_multiplication_and_an_addition_are_two_operations():
    found = prober(0.01).measure(ask("multiply", "fp32"))
    assert found.flop_per_s == pytest.approx(2 * 64**3 / 0.01)
    assert found.bytes_per_s is None


def test_a_limit_is_that_of_the_fastest_repetition():
    # The first one only tells how often to repeat; then one is slow, one fast, the others between.
    clock = Durations(0.0)
    devices = DeviceMap({"cpu": torch.device("cpu")})
    for question, work in ((ask("read"), SMALL), (ask("multiply", "fp32"), 2 * 64**3)):
        clock.left = [0.01, 0.03, 0.005, 0.02]
        found = Prober(devices=devices, clock=clock).measure(question)
        assert (found.bytes_per_s or found.flop_per_s) == pytest.approx(work / 0.005)
        assert found.samples_s[:3] == pytest.approx((0.03, 0.005, 0.02))


def test_the_first_time_is_not_timed():
    # It touches pages and loads kernels.
    seen = []
    devices = DeviceMap({"cpu": torch.device("cpu")})
    timed = Prober(devices=devices, clock=lambda: seen.append("clock") or len(seen) * 1.0)
    timed._time(lambda: seen.append("run"), torch.device("cpu"))
    assert seen[:3] == ["run", "clock", "run"]


def test_matrices_grow_where_small_ones_are_done_at_once(monkeypatch):
    monkeypatch.setattr(roofline, "HOST_SIDE", 16)
    monkeypatch.setattr(roofline, "MOST_HOST_SIDE", 64)
    sides = lambda step, side: prober(step).measure(ask("multiply", "fp32", side=side)).method  # noqa: E731
    assert "64 × 64" in sides(0.002, None)  # the same time for more work: the largest is best
    assert "16 × 16" in sides(0.01, None)  # that takes long enough
    assert "32 × 32" in sides(0.002, 32)  # as it was asked for


def test_what_is_short_is_repeated_within_a_sample():
    # One look of the clock to the next is 1 ms: 5 of them make a sample, whose time is shared.
    found = prober(0.001).measure(ask("read"))
    assert found.samples_s == pytest.approx((0.001 / 5,) * REPEATS)


@pytest.mark.parametrize(("step", "samples"), [(0.05, 7), (0.1, 5), (0.5, 3), (1.0, 1)])
def test_what_is_slow_is_repeated_less_often(step, samples):
    assert len(prober(step).measure(ask("read")).samples_s) == samples


def test_a_clock_that_stands_still_gives_no_figure():
    with pytest.raises(Unsupported, match="stood still"):
        prober(0.0).measure(ask("read"))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "fp32i8", "bf16i8", "fp16i8"])
def test_the_matrix_of_a_product_has_the_bytes_that_were_asked_for(dtype):
    found = prober(0.01).measure(ask("product", dtype, n_bytes=64 * COLUMNS))
    assert found.bytes_per_s == pytest.approx(64 * COLUMNS / 0.01)
    assert ("mm8" in found.method) == dtype.endswith("i8")


@pytest.mark.parametrize(
    "question",
    [
        ask("read"),
        *(ask("product", dtype) for dtype in ("fp32", "bf16", "fp16", "fp32i8")),
        *(ask("multiply", dtype) for dtype in ("fp32", "bf16", "fp16")),
    ],
    ids=lambda q: f"{q.kind} {q.dtype}",
)
def test_on_this_machine_every_figure_is_finite_and_positive(question):
    found = prober().measure(question)
    figure = found.bytes_per_s or found.flop_per_s
    assert math.isfinite(figure)
    assert figure > 0
    assert all(s > 0 for s in found.samples_s)


def test_the_bus_is_that_of_the_copier():
    # `meta` holds no numbers, so what is copied there is copied to a device that is not the host.
    devices = {"cpu": torch.device("cpu"), "cuda:0": torch.device("meta")}
    found = prober(0.01, devices).measure(ask("bus", device="cuda:0"))
    assert found.bytes_per_s == pytest.approx(SMALL / 0.01)
    assert "copied when used" in found.method


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (ask("bus"), "nothing is copied"),
        (ask("read", device="cuda:0"), "no device 'cuda:0' here"),
        (ask("product"), "name one"),
    ],
)
def test_what_cannot_be_asked_is_refused(question, words):
    with pytest.raises(Unsupported, match=words):
        prober(0.01).measure(question)
