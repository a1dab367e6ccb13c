"""The gate on the shipped model: every strategy of the CPU passes, every broken one is seen."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from harness.errors import BadInput, NotANumber, ReferenceUnusable
from harness.language.tokenizer import load_tokenizer
from harness.quality.gate import IF_DAMAGED, ROUNDING, judge_gate, tolerated
from harness.quality.small_form import condense
from harness.quality.tokens import compare_rows
from harness.quickstart import files
from harness.runtime import load_model
from tests.quality.rows import make_row

TEXT = (
    "It was a bright morning in early spring, and the old ferryman had already rowed twice across "
    "the river before the first of the children came down to the water."
)
OWN_TEXT = (
    "Bob: What is 47 + 25?\n\nAlice: 47 + 25 = 72.\n\nBob: Where is Oslo?\n\nAlice: Oslo is in"
)
MATRICES = [
    *(("att", name) for name in ("key", "value", "receptance", "output")),
    *(("ffn", name) for name in ("key", "receptance", "value")),
]
FP32 = [("fp32", "fp32")] * 5
N_LAYER = 4
TOKENS = 32


@pytest.fixture(scope="module")
def passages():
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(files.TOKENIZER)
    return [tokenizer.encode(text)[:TOKENS] for text in (TEXT, OWN_TEXT)]


def score(model, ids, state=None):
    logits, _ = model.forward(ids, state, full_output=True)
    return torch.log_softmax(logits, dim=-1).numpy()


@pytest.fixture(scope="module")
def model():
    return load_model(files.WEIGHTS, "cpu fp32")


@pytest.fixture(scope="module")
def reference(model, passages):
    return [score(model, ids) for ids in passages]


def formats_of(model):
    return [(slot.dtype, slot.weight_dtype) for slot in model.effective_plan()]


STRATEGIES = [
    "cpu fp32",
    "cpu bf16",
    "cpu fp32i8",
    "cpu bf16i8",
    "cpu fp32i8 *3 -> cpu fp32",
    "cpu fp32 *1 -> cpu bf16 *2 -> cpu fp32i8",
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_that_only_rounds_passes_with_room(strategy, passages, reference):
    rounded = load_model(files.WEIGHTS, strategy)
    for ids, rows in zip(passages, reference, strict=True):
        gate = judge_gate(rows, score(rounded, ids), formats_of(rounded))
        assert gate.why is None
        assert gate.tokens == TOKENS
        assert gate.figures["lost"] < gate.figures["tolerated"] / 5


def test_fp16_passes_where_this_torch_can_compute_it(passages, reference):
    rounded = load_model(files.WEIGHTS, "cpu fp16")
    gate = judge_gate(reference[0], score(rounded, passages[0]), formats_of(rounded))
    assert gate.why is None


def test_the_reference_itself_loses_nothing(reference):
    gate = judge_gate(reference[0], reference[0].copy(), FP32)
    assert gate.figures == {"lost": 0.0, "tolerated": tolerated(FP32), "kl": 0.0}


@contextmanager
def changed(tensor, change):
    """A weight that is another for a while."""
    kept = tensor.clone()
    tensor.copy_(change(kept))
    try:
        yield
    finally:
        tensor.copy_(kept)


FAULTS = {
    "sign": lambda weight: -weight,
    "zero": torch.zeros_like,
    "turned": lambda weight: weight.t(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layer", range(N_LAYER))
def test_one_wrong_matrix_in_one_layer_is_seen(layer, fault, model, passages, reference):
    for part, name in MATRICES:
        weight = getattr(getattr(model.weights.blocks[layer], part), name).weight
        if fault == "turned" and weight.shape[0] != weight.shape[1]:
            continue
        with changed(weight, FAULTS[fault]):
            for ids, rows in zip(passages, reference, strict=True):
                gate = judge_gate(rows, score(model, ids), FP32)
                assert gate.why is not None, (part, name)
                assert "another function" in gate.why
                # Also where rounding to bf16 or int8 in every slot would be allowed, with room.
                assert gate.figures["lost"] > 0.011 > 2 * tolerated([("fp32", "uint8")] * 5)


@pytest.mark.parametrize("strategy", ["cpu bf16", "cpu fp32i8"])
def test_a_flipped_sign_is_seen_beside_the_rounding(strategy, passages, reference):
    rounded = load_model(files.WEIGHTS, strategy)
    for layer in range(N_LAYER):
        matrix = rounded.weights.blocks[layer].att.output
        with changed_output(matrix):
            gate = judge_gate(reference[0], score(rounded, passages[0]), formats_of(rounded))
        assert gate.why is not None, layer


@contextmanager
def changed_output(matrix):
    kind = type(matrix)
    call = kind.__call__
    kind.__call__ = lambda self, x: -call(self, x) if self is matrix else call(self, x)
    try:
        yield
    finally:
        kind.__call__ = call


def test_a_wrong_decay_is_seen(model, passages, reference):
    for layer in range(N_LAYER):
        for wrong in (torch.neg, torch.zeros_like, torch.exp, lambda w: torch.log(-w)):
            with changed(model.weights.blocks[layer].att.decay, wrong):
                gate = judge_gate(reference[0], score(model, passages[0]), FP32)
            assert gate.why is not None, layer


def test_an_embedding_without_its_norm_is_seen(model, passages, reference):
    raw = torch.load(files.WEIGHTS, weights_only=True)["emb.weight"].float()
    with changed(model.weights.emb, lambda _: raw):
        gate = judge_gate(reference[0], score(model, passages[0]), [("bf16", "uint8")] * 5)
    assert gate.figures["lost"] > 4 * gate.figures["tolerated"]
    assert gate.why is not None


@pytest.mark.parametrize("size", [1, 16])
def test_a_state_that_is_not_carried_is_seen(size, model, passages, reference):
    ids = passages[0]
    rows = np.concatenate([score(model, ids[at : at + size]) for at in range(0, TOKENS, size)])
    gate = judge_gate(reference[0], rows, [("bf16", "uint8")] * 5)
    assert gate.why is not None


@pytest.mark.parametrize("field", ["att_x", "wkv", "ffn_x"])
def test_a_part_of_the_state_that_is_not_carried_is_seen(field, model, passages, reference):
    state, rows = model.empty_state(), []
    for token in passages[0]:
        logits, state = model.forward([token], state, full_output=True)
        rows.append(torch.log_softmax(logits, dim=-1).numpy())
        empty = model.empty_state()
        layers = zip(state.layers, empty.layers, strict=True)
        kept = tuple(one._replace(**{field: getattr(none, field)}) for one, none in layers)
        state = type(state)(kept)
    assert judge_gate(reference[0], np.concatenate(rows), FP32).why is not None


def test_what_is_said_of_a_broken_strategy(reference):
    gate = judge_gate(reference[0], -reference[0], FP32)
    assert gate.why == (
        "It computes another function than the reference: of what that says of 32 tokens all is "
        "lost, and rounding in these formats loses 0.05 % at most. Nothing was measured; "
        "--set gate=false measures it all the same."
    )
    assert gate.figures["kl"] > 1
    cached = judge_gate(reference[0], -reference[0], FP32, from_cache=True)
    assert cached.why == gate.why + IF_DAMAGED
    assert "'cache --clear'" in cached.why
    assert judge_gate(reference[0], reference[0], FP32, from_cache=True).why is None


def test_the_divergence_is_the_mean_of_the_tokens():
    rng = np.random.default_rng(3)
    rows, others = (np.stack([make_row(rng, 90, "usual") for _ in range(8)]) for _ in range(2))
    expected = np.mean(compare_rows(rows, others, [0] * 8).kl)
    assert judge_gate(rows, others).figures["kl"] == pytest.approx(expected)


def test_the_scale_of_a_model_does_not_matter():
    """Twice as sure of itself, and the same noise in proportion: the same loss."""
    rng = np.random.default_rng(1)
    logits, noise = rng.normal(size=(2, 8, 500))
    lost = [
        judge_gate(scale * logits, scale * (logits + 0.05 * noise)).figures["lost"]
        for scale in (0.1, 1.0, 10.0)
    ]
    assert lost == pytest.approx([0.0025] * 3, rel=0.1)
    assert max(lost) - min(lost) < 1e-9


def test_every_slot_may_lose_what_its_format_loses():
    assert tolerated([("bf16", "bf16"), ("fp32", "uint8")]) == pytest.approx(2.5e-4 + 5e-4 + 1e-3)
    assert tolerated([("fp8", "fp8")]) == tolerated([("bf16", "uint8")])
    assert tolerated([]) == tolerated([("bf16", "uint8")] * 1000) == 0.25
    assert max(ROUNDING.values()) == ROUNDING["bf16", "uint8"]


def test_formats_decide_what_passes():
    rng = np.random.default_rng(2)
    rows = np.stack([make_row(rng, 400, "usual") for _ in range(8)])
    noisy = rows + 0.03 * 4 * rng.normal(size=rows.shape)  # 0.0009 of the variance
    assert judge_gate(rows, noisy, [("fp16", "fp16")] * 5).why is not None
    assert judge_gate(rows, noisy, [("bf16", "bf16")] * 5).why is None


def test_nan_is_another_outcome(reference):
    rows = reference[0].copy()
    rows[3, 5], rows[9, 1] = np.nan, -np.inf
    with pytest.raises(NotANumber, match="gave 2 NaN or infinite log-probabilities within its fi"):
        judge_gate(reference[0], rows)
    with pytest.raises(ReferenceUnusable, match="reference itself"):
        judge_gate(rows, reference[0])


def test_a_reference_that_says_nothing():
    flat = np.full((3, 7), -np.log(7), dtype=np.float32)
    assert judge_gate(flat, flat.copy()).figures["lost"] == 0
    other = flat.copy()
    other[1, 2] += 1
    assert judge_gate(flat, other).why is not None


def test_without_rows_it_says_why():
    rows = np.zeros((0, 7), dtype=np.float32)
    assert judge_gate(rows, rows).missing == "there are no tokens to look at"
    small = condense(np.zeros((2, 7), dtype=np.float32), [0, 0])
    gate = judge_gate(small, np.zeros((2, 7), dtype=np.float32))
    assert gate.tokens == 0
    assert "only the small form" in gate.missing


def test_rows_of_another_model_are_refused(reference):
    with pytest.raises(BadInput, match="not of the same model"):
        judge_gate(reference[0], reference[0][:, :-1])


@pytest.mark.slow
def test_random_weights_of_a_published_shape():
    """The other end: 12 layers, nothing learnt, every part as loud as another."""
    torch.set_num_threads(1)
    ids = np.random.default_rng(1).integers(0, 50277, TOKENS).tolist()
    exact = load_model("random:169m", "cpu fp32")
    rows = score(exact, ids)
    for strategy in ("cpu bf16", "cpu fp32i8", "cpu bf16i8"):
        rounded = load_model("random:169m", strategy)
        gate = judge_gate(rows, score(rounded, ids), formats_of(rounded))
        assert gate.why is None
        assert gate.figures["lost"] < gate.figures["tolerated"] / 4
    bf16 = tolerated([("bf16", "bf16")] * 13)
    for layer in range(12):
        for part, name in MATRICES:
            weight = getattr(getattr(exact.weights.blocks[layer], part), name).weight
            with changed(weight, torch.neg):
                lost = judge_gate(rows, score(exact, ids), [("fp32", "fp32")] * 13)
            assert lost.why is not None
            assert lost.figures["lost"] > bf16 or (name == "key" and layer > 8)
