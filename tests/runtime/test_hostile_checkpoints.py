"""Checkpoints that were made to harm: each is refused in words, and none has an effect."""

import collections
import functools
import importlib
import io
import json
import pickle
import struct
import zipfile

import pytest
import safetensors.torch
import torch

from harness.errors import CheckpointError
from harness.runtime import pth
from harness.runtime.checkpoint import read_header
from harness.runtime.pth import MAX_INDEX_BYTES
from harness.runtime.tensors import FileSource
from tests.runtime.conftest import Case, random_tensors

SMALL = Case(1, 32, 128, torch.float32)


@functools.cache
def small_tensors():
    return random_tensors(SMALL)


def refused(path, said):
    with pytest.raises(CheckpointError, match=said) as error:
        read_header(path)
    assert str(path) in str(error.value)


# -- the names that a pickle may use -------------------------------------------------------------

ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "FloatStorage"),
    ("torch", "HalfStorage"),
    ("torch", "BFloat16Storage"),
    ("torch", "DoubleStorage"),
    ("torch", "ByteStorage"),
    ("torch", "CharStorage"),
    ("torch", "LongStorage"),
}
# The modules of the allowed names, and those that exploits are usually built from.
MODULES = [
    "builtins",
    "codecs",
    "collections",
    "copyreg",
    "functools",
    "importlib",
    "io",
    "operator",
    "os",
    "pickle",
    "runpy",
    "subprocess",
    "sys",
    "torch",
    "torch._utils",
    "torch.hub",
    "torch.serialization",
    "torch.storage",
    "types",
    "harness.runtime.pth",
]


def resolves(module, name):
    try:
        pth._Unpickler(io.BytesIO()).find_class(module, name)
    except pickle.UnpicklingError:
        return False
    return True


def test_a_pickle_can_name_what_a_state_dict_needs_and_nothing_else():
    asked = {(module, name) for module in MODULES for name in dir(importlib.import_module(module))}
    asked |= {("__builtin__", name) for name in ("eval", "getattr")}  # as Python 2 called them
    asked |= {("collections", "OrderedDict.update"), ("torch", "hub.load"), ("posix", "system")}
    assert len(asked) > 1000
    assert {names for names in asked if resolves(*names)} == ALLOWED


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("builtins", "getattr"), ("functools", "partial")]
)
def test_a_file_that_asks_for_more_is_refused_by_the_name(module, name, tmp_path):
    write_index(tmp_path / "m.pth", f"c{module}\n{name}\n.".encode())
    refused(tmp_path / "m.pth", f"asks for {module}.{name}, which a file of weights has no use for")


@pytest.mark.parametrize(
    "state",
    [b"}X\x06\x00\x00\x00marked\x88s", b"N}X\x06\x00\x00\x00marked\x88s\x86"],
    ids=["attributes", "slots"],
)
def test_a_pickle_cannot_write_to_the_functions_that_read_it(state, tmp_path):
    write_index(tmp_path / "m.pth", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state + b"b.")
    refused(tmp_path / "m.pth", "holds a function")
    assert not hasattr(pth._rebuild_tensor, "marked")


def test_attributes_of_a_state_dict_are_dropped(tmp_path):
    tensors = collections.OrderedDict(small_tensors())
    tensors._metadata = collections.OrderedDict({"": {"version": 1}})
    torch.save(tensors, tmp_path / "m.pth")
    assert b"_metadata" in index_of(tmp_path / "m.pth")
    assert read_header(tmp_path / "m.pth").shape == SMALL.shape


# -- the zip around it ---------------------------------------------------------------------------


def write_index(path, pickled):
    """A zip with an index and nothing else."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)


def index_of(path):
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def rewritten(path, *, byteorder=None, compression=zipfile.ZIP_STORED):
    """A good file at `path`, zipped anew."""
    good = io.BytesIO()
    torch.save(small_tensors(), good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            if not name.endswith("/byteorder"):
                new.writestr(name, old.read(name))
        prefix = name.split("/")[0]
        if byteorder is not None:
            new.writestr(f"{prefix}/byteorder", byteorder)
    return path


@pytest.mark.parametrize("byteorder", [None, b"little"])
def test_a_file_zipped_anew_is_still_good(byteorder, tmp_path):
    source = FileSource(read_header(rewritten(tmp_path / "m.pth", byteorder=byteorder)))
    for name, expected in small_tensors().items():
        assert torch.equal(source.read(name), expected)
    source.close()


@pytest.mark.parametrize(
    ("byteorder", "said"),
    [(b"big", "big-endian"), (b"lit", "big-endian"), (b"little" + b" " * 11, "implausibly large")],
)
def test_other_byte_orders_are_refused(byteorder, said, tmp_path):
    refused(rewritten(tmp_path / "m.pth", byteorder=byteorder), said)


def test_compressed_tensors_are_refused(tmp_path):
    refused(rewritten(tmp_path / "m.pth", compression=zipfile.ZIP_DEFLATED), "are compressed")


def test_an_index_is_not_read_when_it_claims_to_be_huge(tmp_path):
    write_index(tmp_path / "m.pth", b"}.")
    data = bytearray((tmp_path / "m.pth").read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 64 * 2**20 + 1)
    (tmp_path / "m.pth").write_bytes(data)
    refused(tmp_path / "m.pth", "'archive/data.pkl' is implausibly large")


def test_the_limit_of_an_index_is_one_of_bytes(tmp_path, monkeypatch):
    path = rewritten(tmp_path / "m.pth")
    size = len(index_of(path))
    monkeypatch.setattr(pth, "MAX_INDEX_BYTES", size)
    assert read_header(path).shape == SMALL.shape
    monkeypatch.setattr(pth, "MAX_INDEX_BYTES", size - 1)
    refused(path, "implausibly large")


def test_a_flipped_bit_in_the_index_is_found(tmp_path):
    path = rewritten(tmp_path / "m.pth")
    data, index = bytearray(path.read_bytes()), index_of(path)
    # A tensor's requires_grad, false made true: nothing but the checksum can tell.
    flipped = data.index(index) + index.index(b"\x89")
    data[flipped] ^= 1
    path.write_bytes(data)
    refused(path, "damaged")


# -- tensors that are not what they say -----------------------------------------------------------


class Described:
    """Pickled as a tensor with whatever fields."""

    def __init__(self, tensor, offset, shape, stride):
        self.fields = (offset, shape, stride)
        self.storage = torch.storage.TypedStorage(
            wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True
        )

    def __reduce__(self):
        rest = (False, collections.OrderedDict())
        return torch._utils._rebuild_tensor_v2, (self.storage, *self.fields, *rest)


def with_described(path, *fields):
    """A file in which `ln_out.bias` [32] lies in a storage of 64 numbers, as described."""
    tensors = dict(small_tensors())
    tensors["ln_out.bias"] = Described(torch.arange(64.0), *fields)
    torch.save(tensors, path)
    return path


def test_a_tensor_as_described_is_read(tmp_path):
    source = FileSource(read_header(with_described(tmp_path / "m.pth", 1, (32,), (2,))))
    assert torch.equal(source.read("ln_out.bias"), torch.arange(1.0, 64, 2))
    source.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((-4, (32,), (1,)), "'ln_out.bias' is not a tensor"),
        ((0, (-32,), (1,)), "'ln_out.bias' is not a tensor"),
        ((63, (32,), (-1,)), "'ln_out.bias' is not a tensor"),
        ((0, (-1, -32), (1, 1)), "'ln_out.bias' is not a tensor"),
        ((0.0, (32,), (1,)), "'ln_out.bias' is not a tensor"),
        ((0, (32.0,), (1,)), "'ln_out.bias' is not a tensor"),
        ((0, ("32",), (1,)), "'ln_out.bias' is not a tensor"),
        ((0, (32,), (1, 1)), "'ln_out.bias' is not a tensor"),
        ((0, 32, 1), "not a plain file of weights"),
        ((0, (32,), (0,)), "'ln_out.bias' repeats its numbers"),
        ((0, (2**40, 32), (0, 1)), "'ln_out.bias' repeats its numbers"),
        ((0, (8, 8), (1, 1)), "'ln_out.bias' repeats its numbers"),
        ((33, (32,), (1,)), "'ln_out.bias' reaches beyond its storage"),
        ((2, (32,), (2,)), "'ln_out.bias' reaches beyond its storage"),
        ((2**70, (32,), (1,)), "'ln_out.bias' reaches beyond its storage"),
    ],
)
def test_impossible_tensors_are_refused(fields, said, tmp_path):
    refused(with_described(tmp_path / "m.pth", *fields), said)


def test_views_with_gaps_are_read_without_them(tmp_path):
    tensors = dict(small_tensors())
    wide = torch.arange(61.0 * 96).reshape(61, 96)
    tensors["head.weight"] = wide[:, 5:69:2]
    tensors["emb.weight"] = torch.cat((wide, wide))[1:123:2, 64:]
    torch.save(tensors, tmp_path / "m.pth")
    header = read_header(tmp_path / "m.pth")
    source = FileSource(header)
    for name in ("head.weight", "emb.weight"):
        assert header.tensors[name].span > tensors[name].numel()
        assert torch.equal(source.read(name), tensors[name])
    source.close()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("blocks.300000.att.key.weight", "blocks up to 300000 are named, and most are missing"),
        (f"blocks.{'9' * 30}.att.key.weight", "do not belong to RWKV-4"),
    ],
)
def test_a_block_number_does_not_decide_how_much_is_expected(key, said, tmp_path):
    torch.save({**small_tensors(), key: torch.zeros(32, 32)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", said)


# -- safetensors ---------------------------------------------------------------------------------


def small_safetensors():
    """Header and data of a good file."""
    good = safetensors.torch.save(small_tensors())
    length = struct.unpack("<Q", good[:8])[0]
    return json.loads(good[8 : 8 + length]), good[8 + length :]


def write_safetensors(path, header, data, *, length=None):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", length or len(header)) + header + data)
    return path


def test_safetensors_written_anew_are_still_good(tmp_path):
    path = write_safetensors(tmp_path / "m.safetensors", *small_safetensors())
    source = FileSource(read_header(path))
    for name, expected in small_tensors().items():
        assert torch.equal(source.read(name), expected)
    source.close()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([float("inf")], "are not sizes"),
        ([float("nan")], "are not sizes"),
        (["32"], "are not sizes"),
        ([32.0], "are not sizes"),
        ([True, 32], "are not sizes"),
        ([-32], "are not sizes"),
        ([-1, -32], "are not sizes"),
        ("32", "are not sizes"),
        (32, "damaged"),
        (None, "damaged"),
        ([31], "128 bytes for a tensor of 124"),
        ([33], "128 bytes for a tensor of 132"),
    ],
)
def test_shapes_that_are_none_are_refused(shape, said, tmp_path):
    header, data = small_safetensors()
    header["ln_out.bias"]["shape"] = shape
    refused(write_safetensors(tmp_path / "m.safetensors", header, data), said)


@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        ([0, 124], "124 bytes for a tensor of 128"),
        ([0, 132], "132 bytes for a tensor of 128"),
        ([128, 0], "-128 bytes for a tensor of 128"),
        ([-128, 0], "are not sizes"),
        ([-64, 64], "are not sizes"),
        ([0.0, 128.0], "are not sizes"),
        ([0], "damaged"),
        ([0, 64, 128], "damaged"),
        ([2**63, 2**63 + 128], "the file ends inside 'ln_out.bias'"),
    ],
)
def test_ranges_that_are_none_are_refused(offsets, said, tmp_path):
    header, data = small_safetensors()
    header["ln_out.bias"]["data_offsets"] = offsets
    refused(write_safetensors(tmp_path / "m.safetensors", header, data), said)


def test_data_one_byte_beyond_the_file_are_refused(tmp_path):
    header, data = small_safetensors()
    begin = len(data) - 128
    header["ln_out.bias"]["data_offsets"] = [begin, begin + 128]
    path = write_safetensors(tmp_path / "m.safetensors", header, data)
    assert read_header(path).shape == SMALL.shape
    header["ln_out.bias"]["data_offsets"] = [begin + 1, begin + 129]
    refused(write_safetensors(path, header, data), "the file ends inside 'ln_out.bias'")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"[" * 200_000, "damaged"),
        (b'{"a":' * 200_000, "damaged"),
        (b"[]", "damaged"),
        (b"{}", "not an RWKV model"),
        (b'{"emb.weight": 1}', "damaged"),
        (b'{"emb.weight": {"dtype": "F32"}}', "damaged"),
        (b'{"a": \xff}', "damaged"),
        (b"{" + b" " * 50, "damaged"),
    ],
    ids=["lists", "dicts", "list", "empty", "number", "fields", "not utf-8", "cut off"],
)
def test_headers_that_are_none_are_refused(header, said, tmp_path):
    refused(write_safetensors(tmp_path / "m.safetensors", header, b""), said)


def test_an_unknown_dtype_is_refused(tmp_path):
    header, data = small_safetensors()
    header["ln_out.bias"]["dtype"] = "F4"
    refused(write_safetensors(tmp_path / "m.safetensors", header, data), "F4")


def test_a_header_is_not_read_when_it_claims_to_be_huge(tmp_path):
    header, data = small_safetensors()
    for length in (MAX_INDEX_BYTES + 1, 2**64 - 1):
        path = write_safetensors(tmp_path / "m.safetensors", header, data, length=length)
        refused(path, "not a safetensors file")
