"""Which plans need the same stored tensors, and how their differences are said."""

import pytest

from harness.runtime.stored import StoredPlan, differences, slot_of, stored_plan, stored_tensors
from tests.runtime.conftest import ODD


@pytest.mark.parametrize("n_layer", [1, 5, 6])
def test_up_to_six_blocks_nothing_that_is_stored_is_halved(n_layer):
    rescaled = stored_plan("cpu fp32 *100 -> cpu fp16", n_layer)
    assert differences(rescaled, stored_plan("cpu fp32", n_layer)) == ()
    assert rescaled.key == stored_plan("cpu fp32", n_layer).key
    last = f"blocks.{n_layer - 1}.att.output.weight"
    assert rescaled.divisor(last) == 1


def test_from_the_seventh_block_on_some_matrices_are_halved():
    plan = stored_plan("cpu fp16", 13)
    assert plan.key != stored_plan("cpu fp32 *100 -> cpu fp16", 13).key
    for block, divisor in [(0, 1), (5, 1), (6, 2), (11, 2), (12, 4)]:
        assert plan.divisor(f"blocks.{block}.att.output.weight") == divisor
        assert plan.divisor(f"blocks.{block}.ffn.value.weight") == divisor
        assert plan.divisor(f"blocks.{block}.att.value.weight") == 1
    assert plan.divisor("head.weight") == plan.divisor("emb.weight") == 1


def test_a_key_tells_apart_all_that_changes_a_number():
    plans = [
        stored_plan("cpu fp32", 3),
        stored_plan("cpu fp32", 4),
        stored_plan("cpu fp32", 3, "file"),
        stored_plan("cpu fp32i8", 3),
        stored_plan("cpu fp32i8 *1 -> cpu fp32", 3),
        stored_plan("cpu fp32i8 *2 -> cpu fp32", 3),
        stored_plan("cpu fp32 *2 -> cpu fp32i8", 3),
        stored_plan("cpu bf16", 3),
        StoredPlan(slots=stored_plan("cpu fp32", 3).slots, rescale=1, fold="float32"),
    ]
    assert len({plan.key for plan in plans}) == len(plans)


@pytest.mark.parametrize("same", ["cuda fp32 *1 -> cpu fp32", "mps fp32 *2+", "cuda:1 fp32 *9"])
def test_devices_and_streaming_are_not_in_a_key(same):
    assert stored_plan(same, 3).key == stored_plan("cpu fp32", 3).key


def test_runs_of_slots_are_named_by_their_ends():
    found = differences(
        stored_plan("cpu fp32 *2 -> cpu bf16i8", 5),
        stored_plan("cpu bf16 *1 -> cpu bf16i8 *2 -> cpu fp16", 5),
    )
    assert found == (
        "slot 0 holds fp32, not bf16",
        "slot 1 holds fp32, not bf16i8",
        "slots 3-5 hold bf16i8, not fp16",
    )


def test_the_fold_of_the_embedding_is_no_difference():
    assert differences(stored_plan("cpu bf16", 3, "file"), stored_plan("cpu bf16", 3)) == ()


def test_every_stored_tensor_belongs_to_the_slot_whose_format_it_has():
    shape = ODD.shape
    plan = stored_plan("cpu bf16i8 *1 -> cpu fp16i8 *1 -> cpu fp32 *1 -> cpu fp16", shape.n_layer)
    for name, tensor in stored_tensors(shape, plan).items():
        slot = plan.slots[slot_of(name, shape.n_layer)]
        allowed = {slot.dtype, slot.weight_dtype}
        assert tensor.dtype in allowed or (tensor.dtype == "fp32" and ".att.time_" in name), name
