"""States are values: forked, picked, joined, carried to other strategies, and never leaked into."""

import pytest
import torch

from harness.errors import BadInput
from harness.runtime import load_model, load_state, save_state
from harness.runtime.devices import DeviceMap
from harness.runtime.reference import ReferenceModel
from harness.runtime.state import TENSORS, LayerState, State, StateForm
from tests.runtime.conftest import CASES, TOKENS, Case, kl, random_tensors

SMALL = Case(3, 32, 80, torch.bfloat16)
DEEP = CASES[2]  # 13 layers: two halvings where a plan has fp16
STRATEGIES = [
    "cpu fp32",
    "cpu bf16",
    "cpu fp16",
    "cpu fp32i8",
    "cpu bf16i8",
    "cpu fp32i8 *1+",
    "cuda fp16i8 *1+",
    "cuda fp16 *1 -> cuda:1 bf16 *1 -> cpu fp32",
    "cpu bf16 *1 -> cpu fp32 *1 -> cpu fp16i8",
]
CPU = torch.device("cpu")
DEVICES = DeviceMap({"cpu": CPU, "cuda": CPU, "cuda:1": CPU})
EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)
LONG = [(37 * i + 11) % 61 for i in range(20)]


def tensors(state):
    return [tensor for layer in state.layers for tensor in layer.tensors()]


def same(state, other):
    pairs = list(zip(tensors(state), tensors(other), strict=True))
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def fill(state, number):
    for tensor in tensors(state):
        tensor.fill_(number)


def meanings(state):
    """What a state says, whatever exponent pp it came out with: [4, L, B, C]."""
    return torch.stack(
        [
            torch.stack([layer.att_x.double() for layer in state.layers]),
            torch.stack([layer.ffn_x.double() for layer in state.layers]),
            torch.stack([(w.aa.double() / w.bb) for _, w, _ in state.layers]),
            torch.stack([(w.pp.double() + w.bb.double().log()) for _, w, _ in state.layers]),
        ]
    )


def apart(state, other):
    return float((meanings(state) - meanings(other)).abs().max())


# -- nothing leaks -------------------------------------------------------------------------------


@EVERY_STRATEGY
@pytest.mark.parametrize("rows", [[[7]], [[7], [8], [9]], [TOKENS], [TOKENS, TOKENS[::-1]]],
                         ids=["one", "batch of one", "several", "batch of several"])  # fmt: skip
def test_feeding_leaves_all_that_the_caller_holds(rows, strategy, checkpoint):
    model = load_model(checkpoint(SMALL), strategy, devices=DEVICES)
    from_nothing, _ = model.forward(rows, full_output=True)
    _, given = model.forward([[*row[::-1], 3, 1] for row in rows])
    kept = given.fork()

    logits, returned = model.forward(rows, given, full_output=True)
    assert same(given, kept)
    kept_logits, kept_returned = logits.clone(), returned.fork()

    # Whatever is done to one of them, the others and the model stay as they were.
    fill(given, 3)
    assert same(returned, kept_returned)
    again, again_returned = model.forward(rows, kept, full_output=True)
    assert torch.equal(again, kept_logits)
    assert same(again_returned, kept_returned)
    fill(returned, 5)
    logits.fill_(7)
    again, _ = model.forward(rows, kept, full_output=True)
    assert torch.equal(again, kept_logits)
    assert torch.equal(model.forward(rows, full_output=True)[0], from_nothing)


@EVERY_STRATEGY
def test_two_continuations_of_one_state_are_independent(strategy, checkpoint):
    model = load_model(checkpoint(SMALL), strategy, devices=DEVICES)
    _, state = model.forward(TOKENS)
    alone = {}
    for token in (4, 5):
        logits, mine = model.forward([token], model.forward(TOKENS)[1])
        alone[token] = [logits, *(model.forward([9], mine)[0] for _ in range(1))]
    _, four = model.forward([4], state)
    _, five = model.forward([5], state)
    assert torch.equal(model.forward([9], four)[0], alone[4][1])
    assert torch.equal(model.forward([9], five)[0], alone[5][1])
    assert not torch.equal(alone[4][1], alone[5][1])


@EVERY_STRATEGY
@pytest.mark.parametrize("n_tokens", [1, 300])
def test_a_state_keeps_no_other_memory_alive(n_tokens, strategy, checkpoint):
    model = load_model(checkpoint(SMALL), strategy, devices=DEVICES)
    _, state = model.forward([[5] * n_tokens, [6] * n_tokens])
    storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors(state))}
    assert sum(storages.values()) == state.nbytes
    activation = {"fp32": 4, "bf16": 2, "fp16": 2}
    expected = sum(
        2 * 32 * (2 * activation[plan.dtype] + 3 * 4) for plan in model.plans[: SMALL.n_layer]
    )
    assert state.nbytes == expected


# -- the same state on every way -----------------------------------------------------------------


def test_what_a_state_means_is_what_float64_remembers(checkpoint):
    _, expected = ReferenceModel(random_tensors(DEEP)).forward(LONG)
    _, state = load_model(checkpoint(DEEP), "cpu fp32").forward(LONG)
    names = ("att.", "ffn.", "att.mean", "att.log_sum")
    for name, ours in zip(names, meanings(state), strict=True):
        for i, layer in enumerate(ours):
            assert (layer[0] - expected[f"blocks.{i}.{name}"]).abs().max() < 2e-5, (name, i)


@pytest.mark.parametrize(
    ("strategy", "bound"),
    [("cpu fp32", 2e-5), ("cpu fp32i8", 5e-5), ("cpu bf16", 0.1), ("cpu bf16i8", 0.1),
     ("cpu fp16", 0.05), ("cpu bf16 *6 -> cpu fp32", 0.1)],
)  # fmt: skip
def test_every_way_leads_to_one_state(strategy, bound, checkpoint):
    """Whole, token by token, in pieces, or as a row of a batch."""
    model = load_model(checkpoint(DEEP), strategy)
    _, whole = model.forward(LONG)
    one_by_one = pieces = None
    for token in LONG:
        _, one_by_one = model.forward([token], one_by_one)
    for start in range(0, len(LONG), 7):
        _, pieces = model.forward(LONG[start : start + 7], pieces)
    _, batch = model.forward([LONG[::-1], LONG])
    assert apart(whole, one_by_one) < bound
    assert apart(whole, pieces) < bound
    assert apart(whole, batch.rows(1)) < bound
    assert apart(whole, batch.rows(0)) > 0.5


@EVERY_STRATEGY
def test_prefill_in_chunks_is_prefill_in_pieces(strategy, checkpoint):
    """Bit for bit: a chunk is nothing but a call. And the chunks change the result of none."""
    model = load_model(checkpoint(SMALL), strategy, devices=DEVICES)
    pieces, logits = None, []
    for start in range(0, len(LONG), 7):
        piece, pieces = model.forward(LONG[start : start + 7], pieces, full_output=True)
        logits.append(piece)
    chunked, state = model.forward(LONG, full_output=True, chunk_tokens=7)
    assert torch.equal(chunked, torch.cat(logits))
    assert same(state, pieces)
    last, state = model.forward([LONG, LONG], chunk_tokens=7)
    assert last.shape == (2, 61)
    assert (last - logits[-1][-1]).abs().max() < (1e-4 if strategy.startswith("cpu fp32") else 0.1)
    assert apart(state.rows(1), pieces) < (1e-4 if strategy.startswith("cpu fp32") else 0.1)


@pytest.mark.parametrize("chunk_tokens", [0, -1])
def test_chunks_have_tokens(chunk_tokens, checkpoint):
    with pytest.raises(BadInput, match="chunk_tokens"):
        load_model(checkpoint(SMALL), "cpu fp32").forward([1], chunk_tokens=chunk_tokens)


# -- fork, rows, stack ---------------------------------------------------------------------------


@pytest.mark.parametrize("fed", [None, [7], TOKENS], ids=["empty", "one", "several"])
def test_a_fork_never_changes_its_parent(fed, checkpoint):
    model = load_model(checkpoint(SMALL), "cpu bf16 *1 -> cpu fp32")
    state = model.empty_state() if fed is None else model.forward(fed)[1]
    fork, kept = state.fork(), state.fork()
    assert same(fork, state)
    for number, tensor in enumerate(tensors(fork)):
        tensor.fill_(number)
        tensor.sub_(1).mul_(2)
        tensor.data.zero_().add_(number)
        assert same(state, kept)
    # nor does one tensor of the fork change another
    assert [float(tensor.min()) for tensor in tensors(fork)] == list(range(15))
    fork = state.fork()
    fill(state, 3)
    assert same(fork, kept)


def test_a_fork_of_views_is_whole():
    """A state of tensors that share memory, as a caller may make one, comes apart in its fork."""
    line = torch.zeros(1, 4)
    state = State((LayerState.of([line.expand(2, 4)] * 5),))
    fork = state.fork()
    fork.layers[0].att_x[1, 2] = 1
    assert float(line.sum()) == 0
    assert float(fork.layers[0].att_x.sum()) == 1
    assert float(fork.layers[0].wkv.aa.sum()) == 0


@EVERY_STRATEGY
def test_rows_are_taken_out_and_joined(strategy, checkpoint):
    model = load_model(checkpoint(SMALL), strategy, devices=DEVICES)
    _, batch = model.forward([TOKENS, TOKENS[::-1], [7] * len(TOKENS)])
    kept = batch.fork()
    rows = [batch.rows(i) for i in range(3)]
    assert [row.batch for row in rows] == [1, 1, 1]
    for i, row in enumerate(rows):
        for one, all_rows in zip(tensors(row), tensors(batch), strict=True):
            assert torch.equal(one[0], all_rows[i])
    assert same(State.stack(rows), batch)
    assert same(batch.rows([2, 0]), State.stack([rows[2], rows[0]]))
    assert same(State.stack([batch.rows([0, 1]), rows[2]]), batch)
    twice = batch.rows([1, 1])
    after, _ = model.forward([[3], [4]], twice)
    for logits, token in zip(after, (3, 4), strict=True):
        alone, _ = model.forward([token], rows[1])
        assert (logits - alone).abs().max() < (2e-5 if strategy.startswith("cpu fp32") else 0.1)

    joined = State.stack(rows)
    stacked_alone = State.stack([batch])
    for copied in (*rows, twice, joined, stacked_alone):
        fill(copied, 3)
    assert same(batch, kept)


@pytest.mark.parametrize("rows", [2, -1, [0, 2], [], [-1]])
def test_rows_that_are_not_there(rows, checkpoint):
    state = load_model(checkpoint(SMALL), "cpu fp32").empty_state(2)
    with pytest.raises(BadInput, match=r"of a state of 2; allowed are one or more of 0\.\.1"):
        state.rows(rows)


def test_states_that_do_not_stack(checkpoint):
    fp32 = load_model(checkpoint(SMALL), "cpu fp32").empty_state()
    with pytest.raises(BadInput, match="no states to stack"):
        State.stack([])
    with pytest.raises(BadInput, match=r"layer 0 .* att_x in torch.bfloat16 .* another strategy"):
        State.stack([fp32, load_model(checkpoint(SMALL), "cpu bf16").empty_state()])
    with pytest.raises(BadInput, match="13 layers, this model 3"):
        State.stack([fp32, load_model(checkpoint(DEEP), "cpu fp32").empty_state()])


# -- other strategies ----------------------------------------------------------------------------


def test_rescaling_leaves_the_state_alone(checkpoint):
    """The same weights and format, but activations halved behind blocks 5 and 11."""
    halving = load_model(checkpoint(DEEP), "cpu fp32 *13 -> cpu fp16 *1")
    plain = load_model(checkpoint(DEEP), "cpu fp32")
    assert [i for i, block in enumerate(halving.weights.blocks) if block.halve] == [5, 11]
    _, halved = halving.forward(LONG)
    _, expected = plain.forward(LONG)
    assert apart(halved, expected) < 2e-5
    ours, _ = plain.forward(TOKENS, halved, full_output=True)
    assert (ours - plain.forward(TOKENS, expected, full_output=True)[0]).abs().max() < 2e-5


# KL in nats between float32 from its own state, and from a state made under the strategy: what
# the strategy costs while it makes the state, far less than what it costs to decode under it.
@pytest.mark.parametrize(
    ("strategy", "bound"), [("cpu fp16", 1e-5), ("cpu bf16", 5e-4), ("cpu fp32i8", 5e-4)]
)
def test_a_state_goes_on_under_another_strategy(strategy, bound, checkpoint):
    plain = load_model(checkpoint(DEEP), "cpu fp32")
    other = load_model(checkpoint(DEEP), strategy)
    _, ours = plain.forward(LONG)
    _, theirs = other.forward(LONG)
    expected, _ = plain.forward(TOKENS, ours, full_output=True)

    there, _ = plain.forward(TOKENS, plain.adopt(theirs), full_output=True)
    assert kl(expected, there).mean() < bound
    assert kl(expected, plain.forward(TOKENS, full_output=True)[0]).mean() > 100 * bound
    # and back: as good as if it had made the state itself
    own, _ = other.forward(TOKENS, theirs, full_output=True)
    back, _ = other.forward(TOKENS, other.adopt(ours), full_output=True)
    assert kl(expected, back).mean() < 2 * kl(expected, own).mean()


def test_adopted_states_are_copies_in_the_models_form(checkpoint):
    fp32 = load_model(checkpoint(SMALL), "cpu fp32")
    mixed = load_model(checkpoint(SMALL), "cpu bf16 *1 -> cpu fp32 *1 -> cpu fp16")
    _, state = fp32.forward([TOKENS, TOKENS])
    kept = state.fork()
    for adopted in (fp32.adopt(state), mixed.adopt(state), state.like(mixed.empty_state())):
        for number, tensor in enumerate(tensors(adopted)):
            tensor.fill_(number)
        assert same(state, kept)
        assert [float(tensor.min()) for tensor in tensors(adopted)] == list(range(15))
    assert same(fp32.adopt(state), state)
    adopted = mixed.adopt(state)
    assert same(adopted, state.like(mixed.empty_state(1)))
    assert [layer.att_x.dtype for layer in adopted.layers] == [
        torch.bfloat16, torch.float32, torch.float16
    ]  # fmt: skip
    for ours, theirs in zip(state.layers, adopted.layers, strict=True):
        assert all(map(torch.equal, ours.wkv, theirs.wkv))
        assert torch.equal(ours.ffn_x.to(theirs.ffn_x.dtype), theirs.ffn_x)


@pytest.mark.gpu
def test_a_state_moves_between_the_gpu_and_the_cpu(checkpoint, tmp_path):
    there = load_model(checkpoint(SMALL), "cuda fp32")
    here = load_model(checkpoint(SMALL), "cpu fp32")
    _, state = there.forward(TOKENS)
    save_state(state, tmp_path / "state")
    expected, _ = here.forward(LONG, here.forward(TOKENS)[1], full_output=True)
    for given in (state, state.fork(), load_state(tmp_path / "state").state):
        moved, _ = here.forward(LONG, here.adopt(given), full_output=True)
        assert (moved - expected).abs().max() < 0.01  # whether or not TF32 is allowed
    on_gpu, _ = there.forward(LONG, there.adopt(here.adopt(state)), full_output=True)
    assert (on_gpu.cpu() - expected).abs().max() < 0.01
    with pytest.raises(BadInput, match=r"on cpu, .* on cuda:0: .*model\.adopt\(state\)"):
        there.forward([1], here.adopt(state))


def test_states_of_other_models_are_not_adopted(checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32")
    with pytest.raises(BadInput, match="the state has 13 layers, this model 3"):
        model.adopt(load_model(checkpoint(DEEP), "cpu fp32").empty_state())
    wider = StateForm(33, [torch.float32] * 3, [CPU] * 3).empty(2)
    with pytest.raises(BadInput, match=r"layer 0 .* att_x \[2, 33\], and this model needs \[2, 32"):
        model.adopt(wider)
    broken = changed(model.empty_state(), 1, "bb", lambda tensor: tensor[0])
    with pytest.raises(BadInput, match=r"layer 1 .* bb \[32\]"):
        model.adopt(broken)


# -- what a model takes --------------------------------------------------------------------------


def changed(state, index, name, change):
    layer = dict(zip(TENSORS, state.layers[index].tensors(), strict=True))
    layer[name] = change(layer[name])
    layers = list(state.layers)
    layers[index] = LayerState.of(layer.values())
    return State(tuple(layers))


WRONG = {
    "rows": (lambda t: t[:1], "has 1 rows in {}; 2 rows of tokens need as many.*State.stack"),
    "no rows": (lambda t: t[:0], "has 0 rows in {}"),
    "channels": (lambda t: t[:, :31], r"has {} \[2, 31\], and this model needs \[2, 32\]"),
    "dimensions": (lambda t: t[0], r"has {} \[32\], and this model needs \[2, 32\]"),
    "scalar": (lambda t: t[0, 0], r"has {} \[\], and this model needs"),
    "dtype": (lambda t: t.double(), r"has {} in torch.float64 on cpu.*model\.adopt\(state\)"),
    "device": (lambda t: t.to("meta"), r"has {} in .* on meta.*model\.adopt\(state\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_tensor_of_a_state_is_checked(wrong, checkpoint):
    model = load_model(checkpoint(SMALL), "cpu bf16 *1 -> cpu fp32")
    change, said = WRONG[wrong]
    for index in range(3):
        for name in TENSORS:
            state = changed(model.empty_state(2), index, name, change)
            wanted = f"layer {index} of the state " + said.format(name)
            with pytest.raises(BadInput, match=wanted):
                model.forward([[1], [2]], state)


def test_what_is_no_state_is_refused(checkpoint):
    model = load_model(checkpoint(SMALL), "cpu fp32")
    for wrong in ([torch.zeros(32)] * 15, (), model.empty_state().layers, "state"):
        with pytest.raises(BadInput, match=r"the state is a \w+\. `from_layout`"):
            model.forward([1], wrong)
    with pytest.raises(BadInput, match="the state has 2 layers, this model 3"):
        model.forward([1], State(model.empty_state().layers[:2]))
    with pytest.raises(BadInput, match="the state has 0 layers"):
        model.forward([1], State(()))


def test_a_device_is_the_one_that_tensors_report():
    """As `cuda` stands for cuda:0; here the other way round, on a device that is everywhere."""
    form = StateForm(4, [torch.float32], [torch.device("cpu:0")])
    form.check(form.empty(2), 2)
