"""The gate at its limits: what implementations get wrong, and rounding as a GPU does it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.language.tokenizer import load_tokenizer
from harness.quality.gate import judge_gate
from harness.quickstart import files
from harness.runtime import blocks, load_model, ops
from harness.runtime.matrices import DenseMatrix
from harness.runtime.quantise import quantise
from harness.runtime.shape import ModelShape, original_tensors
from harness.runtime.synthetic import RandomSource

TEXT = (
    "It was a bright morning in early spring, and the old ferryman had already rowed twice across "
    "the river before the first of the children came down to the water."
)
TOKENS = 32
N_LAYER = 4
FP32, INT8 = [("fp32", "fp32")] * (N_LAYER + 1), [("fp32", "uint8")] * (N_LAYER + 1)


@pytest.fixture(scope="module")
def ids():
    torch.set_num_threads(1)
    return load_tokenizer(files.TOKENIZER).encode(TEXT)[:TOKENS]


@pytest.fixture(scope="module")
def model():
    return load_model(files.WEIGHTS, "cpu fp32")


@pytest.fixture(scope="module")
def reference(model, ids):
    return score(model, ids)


def score(model, ids):
    logits, _ = model.forward(ids, full_output=True)
    return torch.log_softmax(logits.float(), dim=-1).numpy()


def formats_of(model):
    return [(slot.dtype, slot.weight_dtype) for slot in model.effective_plan()]


# -- faults --------------------------------------------------------------------------------------


def with_block(weights, index, block):
    return replace(weights, blocks=(*weights.blocks[:index], block, *weights.blocks[index + 1 :]))


def with_att(weights, index, **changed):
    block = weights.blocks[index]
    return with_block(weights, index, replace(block, att=replace(block.att, **changed)))


def with_ffn(weights, index, **changed):
    block = weights.blocks[index]
    return with_block(weights, index, replace(block, ffn=replace(block.ffn, **changed)))


def turned(matrix, sign):
    return DenseMatrix(sign * matrix.weight)


def left_out(weights, index):
    block = weights.blocks[index]
    weights = with_att(weights, index, output=turned(block.att.output, 0))
    return with_ffn(weights, index, value=turned(block.ffn.value, 0))


def both_residuals_flipped(weights, index):
    block = weights.blocks[index]
    weights = with_att(weights, index, output=turned(block.att.output, -1))
    return with_ffn(weights, index, value=turned(block.ffn.value, -1))


def next_one_swapped(weights, index):
    after = (index + 1) % N_LAYER
    other = with_block(weights, index, weights.blocks[after])
    return with_block(other, after, weights.blocks[index])


def key_and_value_swapped(weights, index):
    att = weights.blocks[index].att
    return with_att(weights, index, key=att.value, value=att.key)


def mixes_swapped(weights, index):
    att = weights.blocks[index].att
    return with_att(weights, index, mix_k=att.mix_v, mix_v=att.mix_k)


def mixes_reversed(weights, index):
    att = weights.blocks[index].att
    return with_att(weights, index, mix_k=1 - att.mix_k, mix_v=1 - att.mix_v, mix_r=1 - att.mix_r)


def decay_of_the_other_sign(weights, index):
    return with_att(weights, index, decay=-weights.blocks[index].att.decay)


def decay_without_its_exponential(weights, index):
    return with_att(weights, index, decay=torch.log(-weights.blocks[index].att.decay))


def without_bonus(weights, index):
    bonus = weights.blocks[index].att.bonus
    return with_att(weights, index, bonus=torch.zeros_like(bonus))


def halved_alone(weights, index):
    """As where weights are not rescaled and activations are."""
    return with_block(weights, index, replace(weights.blocks[index], halve=True))


def with_squares(weights, index, change):
    """All square matrices of a layer, as a kernel of int8 would have them."""
    block = weights.blocks[index]
    square = ("key", "value", "receptance", "output")
    wrong = {name: DenseMatrix(change(getattr(block.att, name).weight)) for name in square}
    weights = with_att(weights, index, **wrong)
    return with_ffn(weights, index, receptance=DenseMatrix(change(block.ffn.receptance.weight)))


def scales_exchanged(weights, index):
    """int8 whose row vectors are taken for those of its columns."""

    def change(weight):
        q, mx, rx, my, ry = quantise(weight.contiguous(), torch.float32)
        return (q + 0.5) * rx * ry[:, None] + mx + my[:, None]

    return with_squares(weights, index, change)


def minima_forgotten(weights, index):
    def change(weight):
        q, _, rx, my, ry = quantise(weight.contiguous(), torch.float32)
        return (q + 0.5) * ry * rx[:, None] + my

    return with_squares(weights, index, change)


# Each with how often what is lost is at least what fp32 and int8 may lose, in whichever layer.
FAULTS = {
    left_out: (200, 20),
    both_residuals_flipped: (200, 20),
    next_one_swapped: (100, 10),
    key_and_value_swapped: (100, 10),
    mixes_swapped: (4, 0),
    mixes_reversed: (50, 5),
    decay_of_the_other_sign: (30, 3),
    decay_without_its_exponential: (50, 5),
    without_bonus: (4, 0),
    halved_alone: (100, 10),
    scales_exchanged: (100, 10),
    minima_forgotten: (100, 10),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_one_layer_is_seen(fault, model, ids, reference, monkeypatch):
    for_fp32, for_int8 = FAULTS[fault]
    sound = model.weights
    for index in range(N_LAYER - (fault is halved_alone)):  # behind the last, a norm undoes it
        monkeypatch.setattr(model, "weights", fault(sound, index))
        rows = score(model, ids)
        gate = judge_gate(reference, rows, FP32)
        assert gate.why is not None, index
        assert gate.figures["lost"] > for_fp32 * gate.figures["tolerated"], index
        coarse = judge_gate(reference, rows, INT8)
        assert coarse.figures["lost"] > for_int8 * coarse.figures["tolerated"], index


def ln0_twice(model, monkeypatch):
    stored = torch.load(files.WEIGHTS, weights_only=True)
    norm = [stored[f"blocks.0.ln0.{name}"].float() for name in ("weight", "bias")]
    emb = ops.layer_norm(model.weights.emb, *norm)
    monkeypatch.setattr(model, "weights", replace(model.weights, emb=emb))


def no_shift(_model, monkeypatch):
    monkeypatch.setattr(blocks, "shift", lambda xx, _last: xx)


def shift_by_two(_model, monkeypatch):
    once = blocks.shift
    monkeypatch.setattr(blocks, "shift", lambda xx, last: once(once(xx, last), last))


def relu_without_its_square(_model, monkeypatch):
    monkeypatch.setattr(ops, "squared_relu", torch.relu)


def a_wrong_column_of_the_head(model, monkeypatch):
    head = model.weights.head
    weight = head.head.weight.clone()
    weight[:, 7] *= -1
    wrong = replace(model.weights, head=replace(head, head=DenseMatrix(weight)))
    monkeypatch.setattr(model, "weights", wrong)


WHOLE = [ln0_twice, no_shift, shift_by_two, relu_without_its_square, a_wrong_column_of_the_head]


@pytest.mark.parametrize("fault", WHOLE, ids=lambda fault: fault.__name__)
def test_a_fault_of_the_whole_model_is_seen(fault, model, ids, reference, monkeypatch):
    fault(model, monkeypatch)
    rows = score(model, ids)
    assert judge_gate(reference, rows, FP32).why is not None
    assert judge_gate(reference, rows, INT8).why is not None


# -- rounding ------------------------------------------------------------------------------------


def tf32(x):
    """float32 with the 10 bits behind the point that fast products of a GPU take."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def product_of_tf32(x, weight):
    return torch.nn.functional.linear(tf32(x), tf32(weight))


def product_with_rounded_sums(x, weight):
    """Sums of 64 products each, added up in 16 bits."""
    total = None
    for start in range(0, x.shape[-1], 64):
        piece = slice(start, start + 64)
        part = (x[..., piece].float() @ weight[:, piece].float().t()).to(x.dtype)
        total = part if total is None else total + part
    return total


@pytest.fixture(scope="module", params=["even", "heavy tails"])
def deep(request, tmp_path_factory):
    """Random weights of 24 layers: a file, tokens, and what the reference says of them."""
    torch.set_num_threads(1)
    shape = ModelShape(n_layer=24, n_embd=128, n_vocab=1000, dim_ffn=512)
    source = RandomSource(shape, 1)
    tensors = {name: source.read(name) for name in original_tensors(shape)}
    if request.param == "heavy tails":
        for name, tensor in tensors.items():
            if shape.is_matrix(name):
                random = np.random.default_rng(len(name)).standard_t(3, size=tuple(tensor.shape))
                scale = float(tensor.float().std()) / random.std()
                tensor.copy_(torch.from_numpy(random * scale))
    path = tmp_path_factory.mktemp("deep") / "model.pth"
    torch.save(tensors, path)
    ids = np.random.default_rng(1).integers(0, shape.n_vocab, TOKENS).tolist()
    return path, ids, score(load_model(path, "cpu fp32"), ids)


@pytest.mark.parametrize(
    ("strategy", "product", "room"),
    [
        ("cpu fp32", product_of_tf32, 500),
        ("cpu bf16", None, 8),
        ("cpu bf16", product_with_rounded_sums, 5),
        ("cpu fp32i8", None, 5),
        ("cpu fp16", None, 100),
        ("cpu fp16", product_with_rounded_sums, 50),
    ],
)
def test_rounding_in_many_layers_has_room(strategy, product, room, deep, monkeypatch):
    path, ids, reference = deep
    if product is not None:
        monkeypatch.setattr(ops, "linear", product)
    rounded = load_model(path, strategy)
    gate = judge_gate(reference, score(rounded, ids), formats_of(rounded))
    assert gate.why is None
    assert 0 < room * gate.figures["lost"] < gate.figures["tolerated"]
