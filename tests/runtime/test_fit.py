import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.runtime.fit import Kind, Limits, _candidates, fit, limits_of, needed_bytes
from harness.runtime.forecast import HOST, forecast
from harness.runtime.shape import RANDOM_SHAPES, ModelShape
from harness.runtime.strategy import resolve

MIB, GIB = 2**20, 2**30
# Few slots, so that all candidates are quickly gone through, and large enough for every kind.
FEW = ModelShape(n_layer=6, n_embd=4096, n_vocab=50277, dim_ffn=16384)
SIZES = st.integers(min_value=100, max_value=8000).map(lambda mib: mib * MIB)


def excess(strategy, limits):
    needed = needed_bytes(forecast(FEW, resolve(strategy, FEW.n_layer)))
    has = limits_of(limits)
    return {d: n - has[d] for d, n in needed.items() if has[d] is not None and n > has[d]}


@settings(max_examples=40)
@given(vram=SIZES, ram=SIZES, dtype=st.sampled_from(["fp16", "bf16", "fp32"]), fast=st.booleans())
def test_what_is_named_fits_and_one_slot_more_on_the_faster_side_does_not(vram, ram, dtype, fast):
    limits = Limits(vram_bytes=vram, ram_bytes=ram, dtype=dtype, fast_bf16=fast)
    found = fit(FEW, limits)
    if found.best is None:
        assert found.nearest.excess == excess(found.nearest.strategy, limits) != {}
        return
    strategy = found.best.strategy
    assert excess(strategy, limits) == {}
    for one in found.faster:
        assert excess(one.strategy, limits) == one.excess != {}
    counted = re.search(r"\*(\d+)", strategy)
    if counted is None or found.best.kind == Kind.CPU:
        return
    # Fewer int8 slots are faster, and more slots on the device.
    n = int(counted[1]) + (-1 if found.best.kind == Kind.DEVICE_INT8 else 1)
    if 0 < n < FEW.n_layer:
        assert excess(strategy.replace(counted[0], f"*{n}", 1), limits) != {}


@settings(max_examples=25)
@given(vram=SIZES, ram=SIZES, fast=st.booleans())
def test_nothing_that_fits_comes_before_the_best(vram, ram, fast):
    limits = Limits(vram_bytes=vram, ram_bytes=ram, fast_bf16=fast)
    fitting = [one for one in _candidates(FEW, limits, None) if one.fits]
    best = fit(FEW, limits).best
    assert (best is None) == (fitting == [])
    for one in fitting:
        assert (one.kind, one.seconds_per_token) >= (best.kind, best.seconds_per_token)


@settings(max_examples=25)
@given(vram=SIZES, more=SIZES, ram=SIZES)
def test_more_memory_never_gives_a_slower_plan(vram, more, ram):
    def rank(vram_bytes, ram_bytes):
        best = fit(FEW, Limits(vram_bytes=vram_bytes, ram_bytes=ram_bytes)).best
        return (99, 0.0) if best is None else (best.kind, best.seconds_per_token)

    here = rank(vram, ram)
    assert rank(vram + more, ram) <= here
    assert rank(vram, ram + more) <= here


@pytest.mark.parametrize(
    ("vram", "ram", "expected"),
    [
        (100 * GIB, 16 * GIB, r"cuda fp16"),
        (10 * GIB, 16 * GIB, r"cuda fp16i8 \*\d+ -> cuda fp16"),
        (4 * GIB, 64 * GIB, r"cuda fp16i8 \*\d+ -> cpu fp32"),
        (4 * GIB, 10 * GIB, r"cuda fp16i8 \*\d+\+"),
        (300 * MIB, 64 * GIB, r"cpu fp32"),
        (None, 64 * GIB, r"cpu fp32"),
        (None, 10 * GIB, r"cpu fp32i8"),
    ],
)
def test_the_kinds_come_in_their_order(vram, ram, expected):
    best = fit(RANDOM_SHAPES["7b"], Limits(vram_bytes=vram, ram_bytes=ram)).best
    assert best is not None
    assert re.fullmatch(expected, best.strategy), best.strategy


def test_what_is_needed_is_enough_and_a_byte_less_is_not():
    needed = needed_bytes(forecast(FEW, resolve("cuda fp16", FEW.n_layer)))
    for less, all_on_device in ((0, True), (1, False)):
        limits = Limits(vram_bytes=needed["cuda:0"] - less, ram_bytes=needed[HOST])
        found = fit(FEW, limits)
        assert (found.best is not None and found.best.strategy == "cuda fp16") == all_on_device


def test_beside_the_best_stand_another_make_and_one_slot_more():
    for vram, ram in ((10 * GIB, 16 * GIB), (4 * GIB, 64 * GIB), (4 * GIB, 10 * GIB)):
        found = fit(RANDOM_SHAPES["7b"], Limits(vram_bytes=vram, ram_bytes=ram))
        best = found.best.strategy
        if found.runner_up is not None:
            assert re.sub(r"\d+", "", found.runner_up.strategy) != re.sub(r"\d+", "", best)
        n = int(re.search(r"\*(\d+)", best)[1])
        more = n - 1 if found.best.kind == Kind.DEVICE_INT8 else n + 1
        assert found.faster[0].strategy == "cuda fp16"
        assert found.faster[-1].strategy == best.replace(f"*{n}", f"*{more}", 1)


def test_where_the_head_does_not_fit_it_stays_on_the_cpu():
    limits = Limits(vram_bytes=1100 * MIB, ram_bytes=10 * GIB)
    best = fit(RANDOM_SHAPES["7b"], limits).best
    assert re.fullmatch(r"cuda fp16i8 \*\d\+ -> cpu fp32 \*1", best.strategy)


def test_nothing_fits_into_nothing():
    found = fit(FEW, Limits(vram_bytes=200 * MIB, ram_bytes=300 * MIB))
    assert found.best is None
    assert found.runner_up is None
    assert sum(found.nearest.excess.values()) > 0


def test_bf16_on_the_cpu_is_for_processors_that_multiply_it():
    for fast, expected in ((True, "cpu bf16"), (False, "cpu fp32")):
        limits = Limits(vram_bytes=None, ram_bytes=64 * GIB, fast_bf16=fast)
        best = fit(RANDOM_SHAPES["7b"], limits).best
        assert best is not None
        assert best.strategy == expected


def test_an_apple_gpu_shares_the_memory_of_the_host():
    found = forecast(FEW, resolve("mps fp16", FEW.n_layer))
    needed = needed_bytes(found)
    assert needed[HOST] > needed["mps"] + found.host.peak_bytes
