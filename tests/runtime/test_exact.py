"""The exact reference out of core: against `cpu fp32`, float64 and itself, and what it refuses."""

import weakref

import numpy as np
import pytest
import torch

from harness.errors import BadInput, CheckpointError
from harness.runtime import convert_model, load_model, save_random
from harness.runtime import exact as module
from harness.runtime.checkpoint import read_header
from harness.runtime.exact import exact_log_probs
from harness.runtime.passage import Passage
from harness.runtime.reference import ReferenceModel
from harness.runtime.shape import RANDOM_SHAPES, ModelShape, original_tensors
from harness.runtime.stored import stored_plan
from harness.runtime.synthetic import RandomSource
from harness.runtime.tensors import FileSource
from harness.runtime.transform import Transformed
from tests.runtime.conftest import CASES, DEEP, TOKENS, Case, random_tensors

SMALL = Case(3, 32, 80, torch.bfloat16)
WIDE = Case(4, 256, 1024, torch.bfloat16)


def tokens(n, n_vocab=61, seed=0):
    return tuple(np.random.default_rng(seed).integers(0, n_vocab, n).tolist())


# Of all lengths: one token, fewer than are fed at least, some that are fed beside each other, more
# than are fed at once; ids that occur twice; and wanted from the start, the middle and the end on.
PASSAGES = (
    Passage(tokens(40, seed=1), first=7),
    Passage((60,)),
    Passage(tokens(300, seed=2), first=299),
    Passage(tokens(200, seed=3)),
    Passage(tokens(15, seed=4), first=14),
    Passage(tokens(37, seed=5), first=20),
    Passage(tokens(1 + 2 * module.CHUNK_TOKENS, seed=6), first=5),
)


def rows_of(weights, passages=PASSAGES, **settings):
    """All rows of each passage, and that they come in order and in bounded chunks."""
    rows, before = [[] for _ in passages], 0
    for index, chunk in exact_log_probs(weights, passages, **settings):
        assert index >= before
        assert 1 <= len(chunk) <= 64
        assert chunk.dtype == np.float32
        rows[index].append(chunk)
        before = index
    rows = [np.concatenate(chunks) for chunks in rows]
    assert [len(one) for one in rows] == [passage.n_rows for passage in passages]
    return rows


def float32_rows(weights, passages=PASSAGES):
    model = load_model(weights, "cpu fp32")
    logits = [model.forward(passage.ids, full_output=True)[0] for passage in passages]
    return [
        torch.log_softmax(one[passage.first :], dim=-1).numpy()
        for one, passage in zip(logits, passages, strict=True)
    ]


def furthest(ours, others):
    return max(np.abs(a - b).max() for a, b in zip(ours, others, strict=True))


# -- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_equals_float64(case, checkpoint):
    passages = (Passage(tuple(TOKENS), first=2), Passage(tuple(TOKENS[::-1])), Passage((7,)))
    reference = ReferenceModel(random_tensors(case))
    expected = [
        torch.log_softmax(reference.forward(passage.ids)[0], dim=-1).numpy()[passage.first :]
        for passage in passages
    ]
    assert furthest(rows_of(checkpoint(case), passages), expected) < 2e-5


@pytest.mark.parametrize("case", [SMALL, DEEP, WIDE], ids=lambda case: case.name)
def test_it_equals_the_whole_model_in_float32(case, checkpoint):
    path = checkpoint(case)
    assert furthest(rows_of(path), float32_rows(path)) < 5e-6


def test_log_probabilities_are_nats_of_what_follows(checkpoint):
    rows = rows_of(checkpoint(SMALL))
    assert max(abs(np.exp(one.astype(float)).sum(axis=1) - 1).max() for one in rows) < 1e-5


@pytest.mark.parametrize("chunk_tokens", [1, 3, 16, 50, 1000])
def test_a_passage_in_one_chunk_equals_one_in_many(chunk_tokens, checkpoint):
    passages = [Passage(tokens(90)), Passage(tokens(33, seed=8), first=4)]
    rows = rows_of(checkpoint(SMALL), passages)
    in_chunks = rows_of(checkpoint(SMALL), passages, chunk_tokens=chunk_tokens)
    assert furthest(in_chunks, rows) < 5e-6


def test_what_is_fed_beside_a_passage_changes_nothing(checkpoint):
    together = rows_of(checkpoint(WIDE))
    alone = [rows_of(checkpoint(WIDE), [passage])[0] for passage in PASSAGES]
    assert furthest(together, alone) < 2e-6


def test_the_same_tokens_from_a_later_row_on_are_the_same_rows(checkpoint):
    ids = tokens(200, seed=9)
    whole, late = rows_of(checkpoint(WIDE), [Passage(ids), Passage(ids, first=150)])
    assert np.abs(whole[150:] - late).max() < 2e-6


def test_short_passages_are_fed_side_by_side_and_long_ones_alone():
    groups = list(module._side_by_side([5, 100, 300, 30, 20, 256], 256))
    assert groups == [[(2, 105)], [(5, 455)], [(1, 5), (3, 405)], [(4, 435), (0, 0)]]
    many = list(module._side_by_side([1] * 40, 256))
    assert [len(group) for group in many] == [16, 16, 8]


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_any_format_of_file_is_read(dtype, tmp_path):
    torch_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    for name in ("model.pth", "model.safetensors"):
        save_random(tmp_path / name, SMALL.shape, seed=3, dtype=torch_dtype)
        ours = rows_of(tmp_path / name)
        assert furthest(ours, float32_rows(tmp_path / name)) < 5e-6


@pytest.mark.parametrize("seed", [0, 5])
def test_random_weights_are_those_of_the_file_of_the_same_seed(seed, tmp_path, monkeypatch):
    monkeypatch.setitem(RANDOM_SHAPES, "tiny", SMALL.shape)
    save_random(tmp_path / "model.pth", SMALL.shape, seed=seed)
    ours = rows_of("random:tiny", seed=seed)
    assert furthest(ours, rows_of(tmp_path / "model.pth")) == 0
    assert furthest(ours, rows_of("random:tiny", seed=seed + 1)) > 0.1


def test_numbers_that_are_none_are_passed_on(tmp_path):
    tensors = random_tensors(SMALL)
    tensors["emb.weight"][60] = float("nan")
    torch.save(tensors, tmp_path / "model.pth")
    rows = rows_of(tmp_path / "model.pth", [Passage((1, 2)), Passage((3, 60, 4))])
    assert np.isfinite(rows[0]).all()
    assert np.isfinite(rows[1][0]).all()
    assert np.isnan(rows[1][1:]).all()


def test_passages_that_follow_each_other_have_the_same_numbers(checkpoint):
    together = rows_of(checkpoint(SMALL))
    for most_tokens in (600, 350, 0):
        apart = rows_of(checkpoint(SMALL), activation_bytes=4 * 32 * most_tokens)
        assert furthest(apart, together) < 2e-6


def test_lots_are_neighbours_that_fit_or_one_alone():
    lots = [range(2), range(2, 3), range(3, 4), range(4, 6), range(6, 7)]
    assert module._lots([3, 4, 5, 9, 1, 1, 8], 8) == lots
    assert module._lots([3, 4, 5], 12) == [range(3)]
    assert module._lots([3, 4, 5], 11) == [range(2), range(2, 3)]
    assert module._lots([5], 0) == [range(1)]


# -- what is read --------------------------------------------------------------------------------


class Spy:
    """A source that remembers which tensors were asked for, and which rows."""

    def __init__(self, source):
        self.source, self.shape = source, source.shape
        self.whole, self.parts, self.open = [], {}, True

    def read(self, name):
        self.whole.append(name)
        return self.source.read(name)

    def rows(self, name, spans):
        self.parts[name] = list(spans)
        return self.source.rows(name, self.parts[name])

    def close(self):
        self.open = False


@pytest.fixture
def spied(monkeypatch):
    shape = ModelShape(n_layer=2, n_embd=1100, n_vocab=6000, dim_ffn=1500)
    spy = Spy(RandomSource(shape, 0))
    stored = Transformed(spy, stored_plan("cpu fp32", shape.n_layer))
    monkeypatch.setattr(module, "_opening", lambda *_: (shape, lambda: stored))
    return spy


def test_every_weight_is_read_once_and_of_the_embedding_what_is_needed(spied):
    list(exact_log_probs("", [Passage((5, 4, 5999)), Passage((4, 7))]))
    matrices = {name for name in original_tensors(spied.shape) if spied.shape.is_matrix(name)}
    vectors = set(original_tensors(spied.shape)) - matrices - {"emb.weight"}
    assert sorted(spied.whole) == sorted(vectors)
    assert spied.parts.pop("emb.weight") == [(4, 6), (7, 8), (5999, 6000)]
    assert set(spied.parts) == matrices
    for name, spans in spied.parts.items():
        rows = [row for span in spans for row in range(*span)]
        assert rows == list(range(original_tensors(spied.shape)[name][0]))
        assert len(spans) > 1
    assert not spied.open


def test_neighbouring_rows_of_the_embedding_are_read_at_once_but_not_all(spied, monkeypatch):
    monkeypatch.setattr(module, "_SPAN_ROWS", 20)
    list(exact_log_probs("", [Passage(tuple(range(50))[::-1], first=49)]))
    assert spied.parts["emb.weight"] == [(0, 20), (20, 40), (40, 50)]


def test_the_same_rows_of_the_embedding_are_not_there_for_all_tokens_at_once(spied, monkeypatch):
    """A copy for every token would be the activations once more."""
    monkeypatch.setattr(module, "_SPAN_ROWS", 20)
    sizes, real = [], Transformed.embedding_rows

    class Counted:
        def __init__(self, rows):
            self.rows = rows

        def __getitem__(self, index):
            sizes.append(len(index))
            return self.rows[index]

    monkeypatch.setattr(Transformed, "embedding_rows", lambda *given: map(Counted, real(*given)))
    list(exact_log_probs("", [Passage((5,) * 45 + (6,) * 7, first=51)]))
    assert sizes == [20, 20, 12]


def test_layers_are_reported_as_they_are_done(checkpoint):
    told = []
    found = exact_log_probs(
        checkpoint(SMALL), [Passage((1, 2))], on_progress=lambda *done: told.append(done)
    )
    assert told == []
    next(found)
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert list(found) == []
    assert told[-1] == (4, 4)


def test_no_more_activations_are_held_than_may_be(spied, monkeypatch):
    """What held those before is gone when the next are made, the head included."""
    sizes, alive = [], []
    embedded, head = module._Sweep.embedded, module._Sweep.head

    def note(made):
        alive.append(weakref.ref(made))
        return made

    def note_embedded(sweep):
        assert [one() for one in alive] == [None] * len(alive)
        x = embedded(sweep)
        sizes.append(4 * x.numel())
        return note(x)

    monkeypatch.setattr(module._Sweep, "embedded", note_embedded)
    monkeypatch.setattr(module._Sweep, "head", lambda sweep: note(head(sweep)))
    told, n_bytes = [], 4 * 1100
    found = exact_log_probs(
        "",
        [Passage((1, 2, 3)), Passage((4, 5)), Passage((6,)), Passage((7, 8, 9, 10))],
        activation_bytes=4 * n_bytes - 1,
        on_progress=lambda *done: told.append(done),
    )
    assert [index for index, _ in found] == [0, 1, 2, 3]
    assert sizes == [3 * n_bytes, 3 * n_bytes, 4 * n_bytes]
    assert len(alive) == 6
    assert told == sorted(told)
    assert told[-1] == (9, 9)
    assert {done for done, _ in told} == set(range(10))


def test_a_study_of_answers_of_a_14b_model_holds_no_more_than_a_gibibyte():
    lengths = [330] * (8 * 20)
    lots = module._lots(lengths, module.ACTIVATION_BYTES // (4 * RANDOM_SHAPES["14b"].n_embd))
    assert [len(lot) for lot in lots] == [158, 2]
    assert 158 * 330 * 4 * 5120 <= 2**30


def test_no_passages_have_no_rows_and_read_nothing(spied):
    assert list(exact_log_probs("", [])) == []
    assert spied.whole == []


# -- rows of a matrix ----------------------------------------------------------------------------


@pytest.mark.parametrize("spans", [[(0, 61)], [(0, 1), (1, 2), (60, 61)], [(3, 9), (40, 50)], []])
def test_rows_are_those_of_the_whole_matrix(spans, tmp_path):
    tensors = random_tensors(SMALL)
    whole = tensors["emb.weight"].clone()
    tensors["emb.weight"] = whole.t().contiguous().t()  # rows that do not lie apart
    tensors["head.weight"] = torch.cat((whole, whole), dim=1)[:, 32:]  # rows with gaps
    tensors["blocks.1.att.key.weight"] = whole[:32]
    torch.save(tensors, tmp_path / "model.pth")
    header = read_header(tmp_path / "model.pth")
    assert not header.tensors["emb.weight"].rows_lie_apart
    assert header.tensors["head.weight"].rows_lie_apart
    source = FileSource(header)
    for name in ("emb.weight", "head.weight"):
        found = list(source.rows(name, spans))
        assert [len(rows) for rows in found] == [stop - start for start, stop in spans]
        for (start, stop), rows in zip(spans, found, strict=True):
            assert torch.equal(rows, whole[start:stop])
    source.close()
    random = RandomSource(SMALL.shape, 3)
    for name in ("emb.weight", "head.weight"):
        for (start, stop), rows in zip(spans, random.rows(name, spans), strict=True):
            assert torch.equal(rows, random.read(name)[start:stop])


def test_random_rows_behind_many_others_are_the_same():
    shape = ModelShape(n_layer=1, n_embd=1000, n_vocab=5000, dim_ffn=8)
    source = RandomSource(shape, 1)
    (rows,) = source.rows("emb.weight", [(4000, 4003)])
    assert torch.equal(rows, source.read("emb.weight")[4000:4003])


def test_weights_that_are_replaced_meanwhile_are_not_mixed_with_others(tmp_path):
    path = tmp_path / "model.pth"
    save_random(path, SMALL.shape, seed=1)
    passages = [Passage((1, 2, 3)), Passage((1, 2, 3))]
    found = exact_log_probs(path, passages, activation_bytes=0)
    _, first = next(found)
    save_random(path, SMALL.shape, seed=2)
    assert [(index, np.array_equal(rows, first)) for index, rows in found] == [(1, True)]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passage", "says"),
    [
        (Passage(()), "passage 1 is empty"),
        (Passage((1, 2), first=2), r"wants its rows from 2 on, and has the rows 0\.\.1"),
        (Passage((1, 2), first=-1), "wants its rows from -1 on"),
        (Passage((1, 61)), r"token 61, which is outside the vocabulary 0\.\.60"),
        (Passage((1, -1, 5)), "token -1, which is outside the vocabulary"),
    ],
)
def test_bad_passages_are_refused_before_anything_is_computed(passage, says, checkpoint):
    with pytest.raises(BadInput, match=says):
        exact_log_probs(checkpoint(SMALL), [Passage((1,)), passage])


@pytest.mark.parametrize("chunk_tokens", [0, -5])
def test_a_chunk_holds_tokens(chunk_tokens, checkpoint):
    with pytest.raises(BadInput, match="must be 1 or more"):
        exact_log_probs(checkpoint(SMALL), [Passage((1,))], chunk_tokens=chunk_tokens)


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("cpu fp32i8", {}),
        ("cpu fp32i8 *1 -> cpu fp32", {}),
        ("cpu bf16", {}),
        ("cuda fp16", {}),
        ("cpu fp32", {"fold": "file"}),
        ("cpu fp32", {"form": "pth", "fold": "file"}),
    ],
)
def test_what_was_rounded_when_it_was_converted_is_refused(
    strategy, settings, checkpoint, tmp_path
):
    path = tmp_path / f"converted.{settings.get('form', 'safetensors')}"
    convert_model(checkpoint(SMALL), path, strategy, **settings)
    with pytest.raises(CheckpointError, match=r"rounded; .* Give the original checkpoint"):
        exact_log_probs(path, [Passage((1,))])


def test_what_was_converted_to_float32_is_as_good_as_the_original(checkpoint, tmp_path):
    path = tmp_path / "converted.safetensors"
    convert_model(checkpoint(SMALL), path, "cpu fp32")
    assert furthest(rows_of(path), rows_of(checkpoint(SMALL))) == 0


def test_what_is_no_checkpoint_is_refused_at_once(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError):
        exact_log_probs(tmp_path / "model.pth", [])
    with pytest.raises(BadInput, match="names no size"):
        exact_log_probs("random:huge", [])
