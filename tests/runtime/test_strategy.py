"""The strategy grammar and planner, against cases verified on the official package."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StrategyError
from harness.runtime.strategy import (
    LayerPlan,
    canonical,
    describe,
    rescale_layer,
    resolve,
    warnings,
)

GOLDEN = [
    ("cuda fp16 -> cpu fp32", 12, "0-5 cuda fp16, 6-12 cpu fp32"),
    (
        "cuda:0 fp16 -> cuda:1 fp16 -> cpu fp32",
        12,
        "0-3 cuda:0 fp16, 4-7 cuda:1 fp16, 8-12 cpu fp32",
    ),
    (
        "cuda:0 fp16 -> cuda:1 fp16 -> cpu fp32",
        24,
        "0-7 cuda:0 fp16, 8-15 cuda:1 fp16, 16-24 cpu fp32",
    ),
    (
        "cuda:0 fp16 -> cuda:1 fp16 -> cpu fp32 *1",
        12,
        "0-5 cuda:0 fp16, 6-11 cuda:1 fp16, 12 cpu fp32",
    ),
    ("cuda fp16 *10 -> cpu fp32", 12, "0-9 cuda fp16, 10-12 cpu fp32"),
    ("cuda fp16 *5", 12, "0-12 cuda fp16"),
    ("cuda fp16 *5 -> cpu fp32 *3", 12, "0-4 cuda fp16, 5-12 cpu fp32"),
    ("cuda fp16 *100", 12, "0-12 cuda fp16"),
    ("cuda fp16 *13 -> cpu fp32", 12, "0-12 cuda fp16"),
    ("cuda fp16 *14 -> cpu fp32 *2", 12, "0-12 cuda fp16"),
    ("cuda fp16i8 *20 -> cuda fp16", 12, "0-12 cuda fp16i8"),
    ("cuda fp16i8 *20 -> cuda fp16", 32, "0-19 cuda fp16i8, 20-32 cuda fp16"),
    ("cuda:0 fp16 *6 -> cuda:1 fp16 *8 -> cpu fp32", 12, "0-5 cuda:0 fp16, 6-12 cuda:1 fp16"),
    ("cuda fp16i8 -> cpu fp32 *1", 12, "0-11 cuda fp16i8, 12 cpu fp32"),
    ("cuda fp16i8 -> cpu fp32 *3", 12, "0-9 cuda fp16i8, 10-12 cpu fp32"),
    ("cuda fp16 *10+", 12, "0-9 cuda fp16, 10-12 cuda fp16 streamed"),
    ("cuda fp16i8 *0+ -> cpu fp32 *1", 12, "0-11 cuda fp16i8 streamed, 12 cpu fp32"),
    (
        "cuda fp16i8 *6 -> cuda fp16 *0+ -> cpu fp32 *1",
        12,
        "0-5 cuda fp16i8, 6-11 cuda fp16 streamed, 12 cpu fp32",
    ),
    (
        "cpu fp32 *3 -> cuda fp16 *6+",
        12,
        "0-2 cpu fp32, 3-8 cuda fp16, 9-12 cuda fp16 streamed",
    ),
    ("cuda fp16 *3+ -> cpu fp32", 12, "0-2 cuda fp16, 3-12 cuda fp16 streamed"),
    (
        "cuda fp16 *3+ -> cpu fp32 *2+",
        12,
        "0-2 cuda fp16, 3-4 cpu fp32, 5-12 cpu fp32 streamed",
    ),
    ("cuda fp16 *13+", 12, "0-12 cuda fp16"),
    ("cuda fp16i8 *20+", 40, "0-19 cuda fp16i8, 20-40 cuda fp16i8 streamed"),
    # repaired: the official package divides by zero here
    ("cuda fp16 *0 -> cpu fp32", 12, "0-12 cpu fp32"),
    ("mps fp32 *2 -> cpu bf16 *0", 12, "0-12 mps fp32"),
]


@pytest.mark.parametrize(("strategy", "n_layer", "expected"), GOLDEN)
def test_plans(strategy, n_layer, expected):
    assert describe(strategy, n_layer) == f"slots {expected}"
    assert len(resolve(strategy, n_layer)) == n_layer + 1


def test_a_plan_is_spelled_in_words():
    plans = resolve("cuda:1 fp16i8 *1 -> cpu bf16 *0+", n_layer=2)
    assert plans[0] == LayerPlan(device="cuda:1", dtype="fp16", weight_dtype="uint8")
    assert plans[2] == LayerPlan(device="cpu", dtype="bf16", weight_dtype="bf16", streamed=True)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("cpu fp32i4", "'cpu fp32i8' for int8"),
        ("cpu fp32i3 *2", "'cpu fp32i8 *2' for int8"),
        ("cpu i4", "'cpu fp32i8' for int8"),
        ("cuda:1 i3 *2", "'cuda:1 fp16i8 *2' for int8"),
        ("CPU i4", "'cpu fp32i8' for int8"),
        ("cuda fp16i4*2 => cpu", "'cuda fp16i8 *2 -> cpu fp32' for int8"),
        ("cpu  fp32", "Did you mean 'cpu fp32'?"),
        ("cpu  fp32i8", "Did you mean 'cpu fp32i8'?"),
        ("cuda fp16*10", "Did you mean 'cuda fp16 *10'?"),
        ("cuda fp16 * 10", "Did you mean 'cuda fp16 *10'?"),
        ("cuda fp16 *", "'cuda fp16 *' is not valid"),
        ("cuda fp16 *-1", "is not valid"),
        ("cuda fp16 *1.5", "is not valid"),
        ("cuda fp16 *3++", "is not valid"),
        ("cpu:0 fp32", "Did you mean 'cpu fp32'?"),
        ("mps:0 fp32", "Did you mean 'mps fp32'?"),
        ("CUDA FP16", "Did you mean 'cuda fp16'?"),
        ("gpu fp16", "Did you mean 'cuda fp16'?"),
        ("tpu fp16", "unknown device 'tpu'"),
        ("cpu float32", "Did you mean 'cpu fp32'?"),
        ("cpu bfloat16", "Did you mean 'cpu bf16'?"),
        ("cpu fp64", "is not valid"),
        ("cpu", "is not valid"),
        ("", "a stage is empty"),
        ("cpu fp32 ->", "a stage is empty"),
        ("cpu fp32 -> -> cpu fp32", "a stage is empty"),
        ("cuda fp16 *" + "9" * 5000, "more than 6 digits"),
        ("cuda:" + "9" * 5000 + " fp16", "unknown device"),
        ("cuda fp16 *\u0663", "is not valid"),  # a digit, but not ours
        ("cpu fp31", "Did you mean 'cpu fp32'?"),
        ("cuda pf16", "Did you mean 'cuda fp16'?"),
        ("cpu bf61", "Did you mean 'cpu bf16'?"),
        ("cuda f16", "Did you mean 'cuda fp16'?"),
        ("cuda fp16 int8 *3", "Did you mean 'cuda fp16i8 *3'?"),
        ("cdua fp16", "Did you mean 'cuda fp16'?"),
        ("cuad:1 fp16", "Did you mean 'cuda:1 fp16'?"),
        ("cuda1 fp16", "Did you mean 'cuda:1 fp16'?"),
        ("gpu0 fp16", "Did you mean 'cuda:0 fp16'?"),
        ("cudafp16", "Did you mean 'cuda fp16'?"),
        ("cuda:1bf16", "Did you mean 'cuda:1 bf16'?"),
        ("cpu", "Did you mean 'cpu fp32'?"),
        ("cuda *3", "Did you mean 'cuda fp16 *3'?"),
        ("cuda i8", "Did you mean 'cuda fp16i8'?"),
        ("cuda fp16 20", "Did you mean 'cuda fp16 *20'?"),
        ("cuda fp16 x20+", "Did you mean 'cuda fp16 *20+'?"),
        ("cpu fp32 ->", "Did you mean 'cpu fp32'?"),
        ("cuda fp16 -> cpu", "stage 'cpu' is not valid. Did you mean 'cuda fp16 -> cpu fp32'?"),
        ("cuda fp16i8*20->cpu fp31", "Did you mean 'cuda fp16i8 *20 -> cpu fp32'?"),
        ("cuda fp16 => cpu fp32", "Did you mean 'cuda fp16 -> cpu fp32'?"),
        ("cuda fp16 --> cpu fp32", "Did you mean 'cuda fp16 -> cpu fp32'?"),
        ("cuda fp16 > cpu fp32", "Did you mean 'cuda fp16 -> cpu fp32'?"),
        ("cuda fp16 \u2192 cpu fp32", "Did you mean 'cuda fp16 -> cpu fp32'?"),
        ("cdua fp16 -> tpu fp16", "stage 'cdua fp16' is not valid. Did you mean 'cuda fp16'?"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused_with_a_way_out(strategy, said):
    with pytest.raises(StrategyError) as error:
        resolve(strategy, 12)
    assert said in str(error.value)
    assert f"'{strategy}'" in str(error.value)


@pytest.mark.parametrize(
    "strategy",
    [
        *("", "tpu fp16", "xpu fp16", "npu fp16", "fp16", "cpu:fp32 fp32"),
        *("cpu fp64", "cuda fp8", "cuda tf32", "cpu fp", "cpu fp36", "cuda 16", "cpu x"),
        *("cuda fp16 *", "cuda fp16 *-1", "cuda fp16 *1.5", "cuda fp16 *3++", "cuda:1234 fp16"),
        "fp16 -> cpu fp32",
    ],
)
def test_nothing_is_suggested_where_it_is_not_clear(strategy):
    with pytest.raises(StrategyError) as error:
        resolve(strategy, 12)
    assert "Did you mean" not in str(error.value)


@given(st.text("cpudamsfb136280i*+:-> x", max_size=40))
def test_what_is_suggested_is_a_strategy(text):
    try:
        canonical(text)
    except StrategyError as error:
        for meant in re.findall(r"Did you mean '(.*?)'\?", str(error)):
            assert canonical(meant) == meant


def test_a_strategy_that_takes_no_slot_is_refused():
    with pytest.raises(StrategyError, match="without a stage"):
        resolve("cpu fp32 *0", 12)


def test_spaces_around_stages_are_free():
    assert canonical("  cuda fp16 *3->cpu fp32i8  ") == "cuda fp16 *3 -> cpu fp32i8"


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("cuda fp16 *5", "'cuda fp16 *5' asks for 5 slots; the other 8 go to it too: this"),
        ("cuda fp16 *5 -> cpu fp32 *7", "'cpu fp32 *7' asks for 7 slots; the other one goes to it"),
        ("cuda fp16 *12 -> cpu fp32 *3", "'cpu fp32 *3' asks for 3 slots, and 1 is left: this"),
        ("cuda fp16 *11 -> cpu fp32 *3", "'cpu fp32 *3' asks for 3 slots, and 2 are left: this"),
        ("cpu fp32 *1", "'cpu fp32 *1' asks for 1 slot; the other 12 go to it too: this"),
        ("cpu fp32 *99", "'cpu fp32 *99' asks for 99 slots, and the model has 13: this runs as"),
        ("cuda fp16i8 *20 -> cuda fp16", "'cuda fp16' gets no slot"),
        ("cuda fp16 *3+ -> cpu fp32", "'cpu fp32' gets no slot"),
        ("cuda fp16 *20+", "'cuda fp16 *20+' asks for 20 slots, and the model has 13: this"),
    ],
)
def test_dropped_and_stretched_stages_are_said_with_the_plan(strategy, said):
    (warning,) = warnings(strategy, 12)
    assert said in warning
    assert describe(strategy, 12) in warning


@pytest.mark.parametrize(
    "strategy",
    [
        "cuda fp16",
        "cuda fp16 -> cpu fp32 *1",
        "cuda fp16 *3+",
        "cpu fp32 *0 -> cpu bf16",
        "cpu fp32 *13",
    ],
)
def test_plans_as_asked_have_no_warning(strategy):
    assert warnings(strategy, 12) == ()


def test_one_fp16_stage_rescales_the_whole_model():
    assert rescale_layer("cpu fp32 -> cuda fp16i8 *1") == 6
    assert rescale_layer("cpu fp32i8 -> cuda bf16") == 0


_STAGES = st.builds(
    lambda device, dtype, int8, count, plus: (
        f"{device} {dtype}{int8}" + ("" if count is None else f" *{count}{plus}")
    ),
    st.sampled_from(["cuda", "cuda:1", "cpu", "mps"]),
    st.sampled_from(["fp32", "fp16", "bf16"]),
    st.sampled_from(["", "i8"]),
    st.none() | st.integers(0, 15),
    st.sampled_from(["", "+"]),
)


@given(st.lists(_STAGES, min_size=1, max_size=4).map(" -> ".join), st.integers(1, 14))
def test_every_slot_of_a_valid_strategy_runs_as_some_stage_says(strategy, n_layer):
    try:
        plans = resolve(strategy, n_layer)
    except StrategyError:
        assert "*0" in strategy
        return
    assert len(plans) == n_layer + 1
    written = {stage.split(" *")[0] for stage in canonical(strategy).split(" -> ")}
    assert {_as_written(plan) for plan in plans} <= written


def _as_written(plan):
    return f"{plan.device} {plan.dtype}{'i8' if plan.weight_dtype == 'uint8' else ''}"
