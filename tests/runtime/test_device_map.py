"""Every plan on machines without its devices: all names stand for the CPU, and a log says where
each tensor was put."""

import itertools
from collections import Counter

import pytest
import torch

from harness.errors import Unsupported
from harness.runtime import load_model
from harness.runtime.devices import DeviceMap, Placement, device_name, devices_here
from harness.runtime.inspection import nbytes
from harness.runtime.strategy import resolve
from tests.runtime.conftest import TOKENS, Case

CPU = torch.device("cpu")
NAMES = ("cpu", "cuda", "cuda:0", "cuda:1", "mps")
SLOTS_13 = Case(12, 32, 80, torch.bfloat16)
MATRICES = {
    *("att.key", "att.value", "att.receptance", "att.output"),
    *("ffn.key", "ffn.receptance", "ffn.value"),
}
VECTORS = 11  # of a block; the last slot has 2

# The golden cases of the official planner, and what people run.
PLANS = [
    "cuda fp16",
    "cuda fp16i8",
    "cuda:1 bf16i8",
    "mps fp16",
    "mps fp32",
    "cpu fp32",
    "cuda fp16 -> cpu fp32",
    "cuda:0 fp16 -> cuda:1 fp16 -> cpu fp32",
    "cuda:0 fp16 -> cuda:1 fp16 -> cpu fp32 *1",
    "cuda fp16 *10 -> cpu fp32",
    "cuda fp16 *5",
    "cuda fp16 *5 -> cpu fp32 *3",
    "cuda:0 fp16 *6 -> cuda:1 fp16 *8 -> cpu fp32",
    "cuda fp16i8 -> cpu fp32 *1",
    "cuda fp16i8 *8 -> cuda fp16",
    "cuda fp16 *10+",
    "cuda fp16i8 *0+ -> cpu fp32 *1",
    "cuda fp16i8 *6 -> cuda fp16 *0+ -> cpu fp32 *1",
    "cpu fp32 *3 -> cuda fp16 *6+",
    "cuda fp16 *3+ -> cpu fp32",
    "cuda fp16 *3+ -> cpu fp32 *2+",
    "cuda fp16 *11+",
    "cuda fp16 *12+",
    "cuda fp16 *13+",
    "cuda:1 bf16i8 *2 -> mps fp32 *3 -> cpu bf16 *1 -> cuda fp16 *1+",
]


def everything_on_the_cpu(log=None):
    return DeviceMap(dict.fromkeys(NAMES, CPU), log=log)


def on_the_cpu(strategy):
    """The strategy for the same numbers, all of them stored on the CPU."""
    formats = [
        plan.dtype + ("i8" if plan.weight_dtype == "uint8" else "")
        for plan in resolve(strategy, SLOTS_13.n_layer)
    ]
    runs = ((dtype, len(list(same))) for dtype, same in itertools.groupby(formats))
    return " -> ".join(f"cpu {dtype} *{count}" for dtype, count in runs)


@pytest.fixture
def loaded(checkpoint):
    """A model under a plan, with every device name standing for the CPU, and its log."""

    def load(strategy):
        log: list[Placement] = []
        return load_model(checkpoint(SLOTS_13), strategy, devices=everything_on_the_cpu(log)), log

    return load


@pytest.mark.parametrize("strategy", PLANS)
def test_every_plan_computes_what_its_formats_say(strategy, loaded, checkpoint):
    model, _ = loaded(strategy)
    plain = load_model(checkpoint(SLOTS_13), on_the_cpu(strategy))
    state = plain_state = None
    for tokens in (TOKENS, TOKENS[:1], TOKENS[1:2], TOKENS[2:5]):
        logits, state = model.forward(tokens, state)
        expected, plain_state = plain.forward(tokens, plain_state)
        assert torch.equal(logits, expected)


@pytest.mark.parametrize("strategy", PLANS)
def test_the_log_shows_each_tensor_in_its_place(strategy, loaded):
    _, log = loaded(strategy)
    plans = resolve(strategy, SLOTS_13.n_layer)
    assert Counter((line.slot, line.tensor) for line in log).most_common(1)[0][1] == 1
    for slot, plan in enumerate(plans):
        lines = {line.tensor: line for line in log if line.slot == slot}
        assert all(line.copied_from == "file" for line in lines.values())
        if slot == 0:
            emb = lines.pop("emb.weight")
            assert (emb.device, emb.dtype) == ("cpu", plan.dtype)
        is_last = slot == len(plans) - 1
        named = {"head"} if is_last else MATRICES
        matrices = {name: lines.pop(f"{name}.weight") for name in named}
        assert len(lines) == (2 if is_last else VECTORS)
        held_on = "cpu" if plan.streamed and not is_last else plan.device
        assert {(m.device, m.dtype) for m in matrices.values()} == {(held_on, plan.weight_dtype)}
        for name, line in lines.items():
            is_wkv = name in ("att.time_decay", "att.time_first")
            assert (line.device, line.dtype) == (plan.device, "fp32" if is_wkv else plan.dtype)


@pytest.mark.parametrize("strategy", PLANS)
def test_activations_move_where_the_plan_changes_and_nowhere_else(strategy, loaded):
    model, log = loaded(strategy)
    log.clear()
    model.forward(TOKENS)
    plans = resolve(strategy, SLOTS_13.n_layer)
    places = [("cpu", plans[0].dtype), *((plan.device, plan.dtype) for plan in plans)]
    expected = [
        Placement(slot, "activations", *place, before[0])
        for slot, (before, place) in enumerate(itertools.pairwise(places))
        if before != place
    ]
    assert [line for line in log if line.tensor == "activations"] == expected


@pytest.mark.parametrize("strategy", [plan for plan in PLANS if "+" in plan])
def test_streamed_matrices_are_copied_in_the_order_of_their_use(strategy, loaded):
    model, log = loaded(strategy)
    log.clear()
    model.forward(TOKENS)
    model.forward(TOKENS[:1])
    plans = resolve(strategy, SLOTS_13.n_layer)[:-1]
    streamed = [i for i, plan in enumerate(plans) if plan.streamed and plan.device != "cpu"]
    # Two slots fit into the two buffers, and then stay there.
    expected = streamed * 2 if len(streamed) > 2 else streamed
    copies = [line for line in log if line.tensor != "activations"]
    assert [slot for slot, _ in itertools.groupby(copies, key=lambda line: line.slot)] == expected
    assert Counter(line.tensor for line in copies) == dict.fromkeys(
        (f"{name}.weight" for name in MATRICES) if expected else (), len(expected)
    )
    for line in copies:
        plan = plans[line.slot]
        assert line[2:] == (plan.device, plan.weight_dtype, "cpu")


@pytest.mark.parametrize("strategy", [*PLANS, "cpu fp32 *4+"])
def test_the_effective_plan_is_read_back(strategy, loaded):
    model, _ = loaded(strategy)
    plans = resolve(strategy, SLOTS_13.n_layer)
    for asked, got in zip(plans, model.effective_plan(), strict=True):
        is_head = got.slot == len(plans) - 1
        assert (got.dtype, got.weight_dtype) == (asked.dtype, asked.weight_dtype)
        assert got.device == "cpu"  # where the tensors really are, whatever was asked for
        assert got.streamed == (asked.streamed and not is_head)
        is_copied = got.streamed and asked.device != "cpu"
        assert got.kernels.get("weights") == ("copied when used" if is_copied else None)
    slots = sum(got.bytes for got in model.effective_plan())
    assert slots + nbytes([model.weights.emb]) == sum(model.weight_bytes().values())


def test_two_buffers_of_the_largest_slot_serve_any_number_of_streamed_slots(loaded):
    model, _ = loaded("cuda fp16i8 *2 -> cuda fp16 *1+")
    streamed = [block for block in model.weights.blocks if hasattr(block, "lane")]
    lane = streamed[0].lane
    assert len(streamed) == 9
    assert all(block.lane is lane for block in streamed)
    assert lane.device_bytes == 2 * max(block.host.flat.numel() for block in streamed)
    assert lane.how == "copied when used"


def test_each_device_has_buffers_of_its_own(loaded):
    model, log = loaded("cuda:0 fp16 *2 -> cuda:1 fp16 *3+")
    log.clear()
    model.forward(TOKENS)
    assert {line.device for line in log if line.tensor != "activations"} == {"cuda:1"}


def test_streamed_float32_is_as_good_as_stored(loaded, checkpoint):
    """Not bit for bit: stored matrices lie in another order, and BLAS adds in another one."""
    logits, _ = loaded("cuda fp32 *3+")[0].forward(TOKENS)
    expected, _ = load_model(checkpoint(SLOTS_13), "cpu fp32").forward(TOKENS)
    assert (logits - expected).abs().max() < 2e-5


def test_a_device_that_is_not_there_is_named_with_those_that_are(checkpoint):
    devices = DeviceMap({"cpu": CPU, "cuda": CPU, "cuda:0": CPU})
    with pytest.raises(Unsupported, match=r"no device 'cuda:1' here.*sees: cpu, cuda:0$"):
        load_model(checkpoint(SLOTS_13), "cuda fp16 *3 -> cuda:1 fp16", devices=devices)


def test_the_devices_of_this_machine_include_the_cpu():
    assert devices_here()["cpu"] == CPU
    assert ("cuda:0" in devices_here()) == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "cpu"), ("cuda:1", "cuda:1"), ("mps:0", "mps"), ("mps", "mps")]
)
def test_a_tensor_s_device_is_named_as_strategies_do(device, name):
    assert device_name(torch.device(device)) == name
