"""States in files: back bit for bit, and refused in words where a file is not what it should be."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from harness.errors import BadInput, CheckpointError, NotANumber
from harness.runtime import load_model, state_files
from harness.runtime.state import State, StateForm
from harness.runtime.state_files import load_state, save_state
from tests.runtime.conftest import TOKENS, Case

CASE = Case(3, 32, 80, torch.bfloat16)
SHA = "0123456789abcdef" * 4
CPU = torch.device("cpu")


def some_state(batch=2, n_layer=2, n_embd=4):
    """A state in which every number is another one."""
    empty = StateForm(n_embd, [torch.bfloat16, torch.float32][:n_layer], [CPU] * n_layer)
    numbers = iter(range(10**6))
    return empty.empty(batch).map(
        lambda t: torch.tensor([next(numbers) for _ in range(t.numel())]).reshape(t.shape).to(t)
    )


def tensors(state):
    return [tensor for layer in state.layers for tensor in layer.tensors()]


def assert_same(state, other):
    for one, two in zip(tensors(state), tensors(other), strict=True):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    "strategy", ["cpu fp32", "cpu bf16", "cpu fp16", "cpu bf16i8 *1 -> cpu fp32 *1 -> cpu fp16"]
)
@pytest.mark.parametrize("rows", [TOKENS, TOKENS[:1], [TOKENS, TOKENS[::-1]]], ids=["T", "1", "B"])
def test_a_saved_state_comes_back_bit_for_bit(rows, strategy, checkpoint, tmp_path):
    model = load_model(checkpoint(CASE), strategy)
    _, state = model.forward(rows)
    save_state(state, tmp_path / "state", model_sha256=SHA, tokens=len(TOKENS))
    saved = load_state(str(tmp_path / "state"), model_sha256=SHA)
    assert_same(saved.state, state)
    assert (saved.model_sha256, saved.tokens) == (SHA, len(TOKENS))
    again = [[3], [4]][: state.batch]
    assert torch.equal(model.forward(again, saved.state)[0], model.forward(again, state)[0])


def test_an_empty_state_comes_back(checkpoint, tmp_path):
    model = load_model(checkpoint(CASE), "cpu fp32")
    save_state(model.empty_state(), tmp_path / "state")
    saved = load_state(tmp_path / "state", model_sha256=SHA)  # it does not say of which weights
    assert_same(saved.state, model.empty_state())
    assert (saved.model_sha256, saved.tokens) == (None, None)


def test_the_file_says_what_is_in_it(tmp_path):
    save_state(some_state(), tmp_path / "state", model_sha256=SHA, tokens=17)
    with safetensors.safe_open(tmp_path / "state", framework="pt") as file:
        assert file.metadata() == {
            "format": "rwkv-harness state",
            "version": "1",
            "architecture": "RWKV-4",
            "layout": "[batch, n_embd] per layer: att_x, aa, bb, pp, ffn_x",
            "n_layer": "2",
            "n_embd": "4",
            "batch": "2",
            "dtypes": "bf16 fp32",
            "model_sha256": SHA,
            "tokens": "17",
        }
        five = ("att_x", "aa", "bb", "pp", "ffn_x")
        assert sorted(file.keys()) == sorted(f"layers.{i}.{name}" for i in (0, 1) for name in five)


def test_what_was_loaded_is_apart_from_the_file(tmp_path):
    state = some_state()
    save_state(state, tmp_path / "state")
    loaded = load_state(tmp_path / "state").state
    for tensor in tensors(loaded):
        tensor.zero_()
    assert_same(load_state(tmp_path / "state").state, state)
    loaded = load_state(tmp_path / "state").state
    (tmp_path / "state").write_bytes(bytes((tmp_path / "state").stat().st_size))
    assert_same(loaded, state)


def names(folder):
    return [path.name for path in folder.iterdir()]


# -- writing -------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "state"
    save_state(some_state(), path, tokens=1)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"state: cannot be written \(No space left on device\)"):
        save_state(some_state(), path, tokens=2)
    assert names(tmp_path) == ["state"]
    assert load_state(path).tokens == 1


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_state(some_state(), tmp_path / "state")
    assert names(tmp_path) == []


def test_what_cannot_be_saved_says_why(tmp_path):
    with pytest.raises(BadInput, match="nowhere/state: cannot be written"):
        save_state(some_state(), tmp_path / "nowhere" / "state")
    with pytest.raises(BadInput, match="model_sha256 is 'abc'; it has 64 digits"):
        save_state(some_state(), tmp_path / "state", model_sha256="abc")
    with pytest.raises(BadInput, match="tokens is -1"):
        save_state(some_state(), tmp_path / "state", tokens=-1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_state_of_no_numbers_is_not_saved(number, tmp_path):
    state = some_state()
    state.layers[1].wkv.bb[1, 2] = number
    with pytest.raises(NotANumber, match="layer 1 of the state has NaN or infinite numbers in bb"):
        save_state(state, tmp_path / "state")
    assert names(tmp_path) == []


# -- files that are none -------------------------------------------------------------------------


def refused(path, said):
    with pytest.raises(CheckpointError, match=said) as error:
        load_state(path)
    assert str(path) in str(error.value)


@pytest.fixture
def good(tmp_path):
    """The tensors and the metadata of a good file, and how to write them changed."""
    path = tmp_path / "state"
    save_state(some_state(), path, model_sha256=SHA, tokens=5)
    with safetensors.safe_open(path, framework="pt") as file:
        contents = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()

    def written():
        safetensors.torch.save_file(contents, path, metadata=metadata)
        return path

    return contents, metadata, written


def test_the_good_file_is_good(good):
    assert_same(load_state(good[2]()).state, some_state())


def test_other_weights_are_refused(good):
    path = good[2]()
    with pytest.raises(CheckpointError, match=f"of the weights {SHA}, not of {SHA[::-1]}"):
        load_state(path, model_sha256=SHA[::-1])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "pt", "not of a state"),
        ("format", None, "not of a state"),
        ("version", "2", "version 2 of the format; this harness knows 1"),
        ("version", None, "version None"),
        ("n_layer", "3", "10 tensors and 2 dtypes, for 3 layers"),
        ("n_layer", "999999999999", "for 999999999999 layers"),
        ("n_layer", "9" * 5000, "n_layer is '99999"),
        ("n_layer", "-2", "n_layer is '-2', and no number"),
        ("n_layer", "0", "n_layer is 0"),
        ("n_layer", None, "n_layer is ''"),
        ("n_embd", "5", r"'layers.0.att_x' is torch.bfloat16 \[2, 4\].* bf16 \[2, 5\]"),
        ("n_embd", "0", "n_embd is 0"),
        ("batch", "1", r"\[2, 4\].* \[1, 4\]"),
        ("batch", "two", "batch is 'two'"),
        ("dtypes", "fp32 fp32", "'layers.0.att_x' is torch.bfloat16"),
        ("dtypes", "bf16 int8", "'layers.1.att_x' is torch.float32 .* int8"),
        ("dtypes", "bf16", "10 tensors and 1 dtypes, for 2 layers"),
        ("dtypes", None, "1 dtypes"),
        ("tokens", "5.5", "tokens is '5.5'"),
        ("model_sha256", "abc", "model_sha256 is 'abc'"),
    ],
)
def test_metadata_that_lie_are_refused(key, value, said, good):
    _, metadata, written = good
    if value is None:
        del metadata[key]
    else:
        metadata[key] = value
    refused(written(), said)


def test_tensors_that_do_not_fit_are_refused(good):
    contents, _, written = good
    whole = dict(contents)

    def with_change(key, tensor):
        contents.clear()
        contents.update(whole)
        if tensor is None:
            del contents[key]
        else:
            contents[key] = tensor
        return written()

    refused(with_change("layers.1.pp", None), "9 tensors and 2 dtypes, for 2 layers")
    refused(with_change("layers.2.pp", torch.zeros(2, 4)), "11 tensors")
    refused(with_change("layers.1.aa", torch.zeros(2, 3)), r"'layers.1.aa' is .*\[2, 3\]")
    refused(with_change("layers.1.aa", torch.zeros(8)), r"'layers.1.aa' is .*\[8\]")
    half = torch.zeros(2, 4, dtype=torch.float16)
    refused(with_change("layers.1.aa", half), "'layers.1.aa' is torch.float16 .* fp32")
    nan = torch.tensor([[0.0] * 3 + [float("nan")]] * 2)
    refused(with_change("layers.1.ffn_x", nan), "'layers.1.ffn_x' has NaN or infinite")
    refused(with_change("layers.0.bb", nan.nan_to_num(float("inf")) / 0), "'layers.0.bb' has NaN")
    contents.pop("layers.0.bb")
    contents["layers.00.bb"] = torch.zeros(2, 4)
    refused(written(), "'layers.0.bb' is missing")


def test_files_of_another_kind_are_refused(tmp_path, checkpoint):
    refused(tmp_path / "none", "no such file")
    refused(tmp_path, "no such file")
    path = tmp_path / "file"
    for content in (b"", b"\0" * 7, b"\0" * 4096, b"<!doctype html>" * 9, b"\xff" * 4096):
        path.write_bytes(content)
        refused(path, "not a whole safetensors file")
    safetensors.torch.save_file({"emb.weight": torch.zeros(2, 2)}, path)
    refused(path, "a safetensors file, but not of a state")
    refused(checkpoint(CASE), "not a whole safetensors file")


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "no such file")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickles_are_not_run(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path, "not a whole safetensors file")
    torch.save({"state": Bomb()}, path)
    refused(path, "not a whole safetensors file")


def test_every_cut_is_refused(good):
    path = good[2]()
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path, "not a whole safetensors file")
    path.write_bytes(whole + b"\0")
    refused(path, "not a whole safetensors file")


def test_what_stands_behind_the_tensors_is_refused_whatever_the_library_does(good):
    path = good[2]()
    state = load_state(path).state
    state_files._check_length(path, state)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="1 bytes more than its tensors"):
        state_files._check_length(path, state)


def entry(dtype="F32", shape=(2, 4), offsets=(0, 32)):
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "changed",
    [
        entry(offsets=(0, 2**40)),
        entry(offsets=(0, 2**64 - 1)),
        entry(offsets=(-32, 0)),
        entry(offsets=(32, 0)),
        entry(offsets=(4, 36)),
        entry(shape=(2**40, 2**40)),
        entry(shape=(-2, -4)),
        entry(shape=(2**63, 2)),
        entry(shape=(2, 3)),
        entry(dtype="F1"),
        entry(dtype="I64", shape=(1, 4)),
        entry(shape="two"),
        {},
        7,
    ],
    ids=str,
)
def test_headers_made_to_harm_are_refused(changed, good):
    path = good[2]()
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    first = min(
        (key for key in header if key.startswith("layers")),
        key=lambda key: header[key]["data_offsets"],
    )
    assert header[first] == entry(shape=[2, 4])
    header[first] = changed
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])
    with pytest.raises(CheckpointError):
        load_state(path)


def test_states_of_one_storage_are_saved(tmp_path):
    """The format itself takes no two tensors of one storage; nor any that are not contiguous."""
    flat = torch.arange(40.0).reshape(4, 10)
    parts = [flat[:, i : i + 2] for i in range(0, 10, 2)]
    parts[2] = torch.arange(8.0).reshape(2, 4).t()
    layer = some_state().layers[0]
    state = State((type(layer).of(parts),))
    save_state(state, tmp_path / "state")
    assert_same(load_state(tmp_path / "state").state, state)
