"""The forward pass: against float64, and against itself (the official package: elsewhere)."""

import copy

import numpy as np
import pytest
import torch

from harness.errors import BadInput, CheckpointError, StrategyError, Unsupported
from harness.runtime import load_model, ops
from harness.runtime.reference import ReferenceModel
from tests.runtime.conftest import CASES, TOKENS, Case, kl, random_tensors

SMALL = Case(3, 32, 80, torch.bfloat16)
DEEP = Case(13, 96, 384, torch.bfloat16, shared_storage=True)
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@EVERY_CASE
def test_cpu_fp32_equals_float64(case, checkpoint):
    expected, _ = ReferenceModel(random_tensors(case)).forward(TOKENS)
    ours, _ = load_model(checkpoint(case), "cpu fp32").forward(TOKENS, full_output=True)
    assert (ours.double() - expected).abs().max() < 2e-5


@EVERY_CASE
@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu fp32i8 *1 -> cpu fp32"])
def test_one_by_one_equals_whole(case, strategy, checkpoint):
    model = load_model(checkpoint(case), strategy)
    whole, whole_state = model.forward(TOKENS, full_output=True)
    state, rows = None, []
    for token in TOKENS:
        logits, state = model.forward([token], state)
        rows.append(logits)
    assert (torch.stack(rows) - whole).abs().max() < 5e-5
    one, _ = model.forward([17], state)
    other, _ = model.forward([17], whole_state)
    assert (one - other).abs().max() < 5e-5


@pytest.mark.parametrize("splits", [(1, 11), (5, 7), (2, 3, 7)])
def test_splits_equal_whole(splits, checkpoint):
    model = load_model(checkpoint(DEEP), "cpu fp32")
    whole, _ = model.forward(TOKENS)
    state, start = None, 0
    for n in splits:
        logits, state = model.forward(TOKENS[start : start + n], state)
        start += n
    assert (logits - whole).abs().max() < 5e-5


@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16", "cpu fp32i8", "cpu bf16i8"])
def test_a_batch_equals_its_rows(strategy, checkpoint):
    model = load_model(checkpoint(DEEP), strategy)
    rows = [TOKENS, TOKENS[::-1], [7] * len(TOKENS)]
    batch, batch_state = model.forward(rows, full_output=True)
    after, _ = model.forward([[3], [4], [5]], batch_state)
    assert batch.shape == (3, len(TOKENS), 61)
    bound = 2e-5 if "fp32" in strategy else 0.1
    for i, row in enumerate(rows):
        alone, state = model.forward(row, full_output=True)
        assert (batch[i] - alone).abs().max() < bound
        alone, _ = model.forward([3 + i], state)
        assert (after[i] - alone).abs().max() < bound


def test_shapes_of_outputs(checkpoint):
    model = load_model(str(checkpoint(SMALL)), "cpu fp32")
    assert model.forward([1, 2])[0].shape == (61,)
    assert model.forward([1, 2], full_output=True)[0].shape == (2, 61)
    assert model.forward([[1, 2]])[0].shape == (1, 61)
    assert model.forward(np.array([[1, 2], [3, 4]]), full_output=True)[0].shape == (2, 2, 61)


def test_a_state_is_a_value(checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32")
    _, state = model.forward(TOKENS)
    kept = copy.deepcopy(state)
    first, _ = model.forward([4, 5, 6], state)
    model.forward([9], state)
    again, _ = model.forward([4, 5, 6], state)
    assert torch.equal(first, again)
    for layer, before in zip(state.layers, kept.layers, strict=True):
        for got, want in zip(
            (layer.att_x, *layer.wkv, layer.ffn_x),
            (before.att_x, *before.wkv, before.ffn_x),
            strict=True,
        ):
            assert torch.equal(got, want)


def test_writing_into_one_tensor_of_a_state_changes_no_other(checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32")
    state = model.empty_state()
    state.layers[0].att_x.fill_(1)
    assert not state.layers[0].ffn_x.any()
    assert not model.empty_state().layers[0].att_x.any()


def test_the_fold_of_ln0_is_a_choice(checkpoint):
    """Folding in bf16 is off by a bf16 rounding; in float32 it is exact."""
    expected, _ = ReferenceModel(random_tensors(SMALL)).forward(TOKENS)
    errors = {}
    for fold in ("float32", "file"):
        model = load_model(checkpoint(SMALL), "cpu fp32", fold=fold)
        logits, _ = model.forward(TOKENS, full_output=True)
        errors[fold] = (logits.double() - expected).abs().max()
    assert errors["float32"] < 2e-5
    assert errors["file"] > 100 * errors["float32"]


def test_activations_are_halved_under_fp16_and_the_logits_stay(checkpoint):
    mixed = load_model(checkpoint(DEEP), "cpu fp32 *12 -> cpu fp16")
    whole = load_model(checkpoint(DEEP), "cpu fp32")
    assert [i for i, block in enumerate(mixed.weights.blocks) if block.halve] == [5, 11]
    ours, expected = mixed.forward(TOKENS)[0], whole.forward(TOKENS)[0]
    assert (ours - expected).abs().max() < 0.01


def test_half_on_a_cpu_without_half_operations(checkpoint, monkeypatch):
    expected, _ = ReferenceModel(random_tensors(DEEP)).forward(TOKENS)
    monkeypatch.setattr(ops, "_has_half_on_cpu", lambda: False)
    model = load_model(checkpoint(DEEP), "cpu fp16")
    logits, _ = model.forward(TOKENS, full_output=True)
    assert kl(expected, logits).max() < 1e-4
    slot = model.effective_plan()[0]
    assert (slot.dtype, slot.weight_dtype) == ("fp16", "fp16")
    assert "rounded to float16" in slot.kernels["att.key"]


def test_streamed_slots_compute_the_same(checkpoint):
    streamed = load_model(checkpoint(SMALL), "cpu fp32i8 *1+")
    stored = load_model(checkpoint(SMALL), "cpu fp32i8")
    assert torch.equal(streamed.forward(TOKENS)[0], stored.forward(TOKENS)[0])
    assert [slot.streamed for slot in streamed.effective_plan()] == [False, True, True, False]


def test_the_effective_plan_is_read_from_the_tensors(checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32i8 *2 -> cpu bf16")
    slots = model.effective_plan()
    assert [(s.dtype, s.weight_dtype) for s in slots] == [("fp32", "uint8")] * 2 + [
        ("bf16", "bf16")
    ] * 2
    assert "int8" in slots[0].kernels["ffn.value"]
    matrix = model.weights.blocks[2].ffn.value
    matrix.weight = matrix.weight.float()
    assert model.effective_plan()[2].weight_dtype == "bf16+fp32"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([], "not empty"),
        ([[]], "not empty"),
        ([[1, 2], [3]], "rows of ids of one length"),
        ([61], "token 61 is outside the vocabulary 0..60"),
        ([-1], "token -1 is outside"),
        ([1.5], "whole numbers"),
        (["a"], "must be ids"),
        ([[[1]]], "allowed are"),
    ],
)
def test_bad_tokens_are_refused(tokens, said, checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32")
    with pytest.raises(BadInput, match=said.replace("[", r"\[").replace(".", r"\.")):
        model.forward(tokens)


def test_states_of_another_batch_or_model_are_refused(checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32")
    other = load_model(checkpoint(DEEP), "cpu fp32")
    _, state = model.forward([[1], [2]])
    with pytest.raises(BadInput, match="1 rows of tokens"):
        model.forward([1], state)
    with pytest.raises(BadInput, match="the state has 3 layers, this model 13"):
        other.forward([[1], [2]], state)


def test_what_cannot_be_loaded_says_why(checkpoint, tmp_path):
    with pytest.raises(StrategyError):
        load_model(checkpoint(SMALL), "cpu fp23")
    with pytest.raises(CheckpointError, match="No such file"):
        load_model(tmp_path / "none.pth", "cpu fp32")
    with pytest.raises(BadInput, match="allowed are float32 and file"):
        load_model(checkpoint(SMALL), "cpu fp32", fold="bf16")
    with pytest.raises(BadInput, match="random:169m"):
        load_model("random:170m", "cpu fp32")
    with pytest.raises(Unsupported, match="no device 'cuda:63' here"):
        load_model(checkpoint(SMALL), "cuda:63 fp16")
