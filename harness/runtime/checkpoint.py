"""What is in a weights file: names, dtypes, shapes and byte ranges, without torch.

Weights are untrusted input. A `.pth` is a zip with a pickle inside; the pickle is read by an
unpickler that knows a closed list of names, each of which only describes a tensor, so nothing a
file says is ever executed. The tensors themselves are read elsewhere (`tensors.py`), one by one, by
the byte ranges found here: no memory map and no full load, also when all tensors of a file are
views into one storage.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import CheckpointError
from harness.runtime.identify import describe_file
from harness.runtime.shape import ModelShape
from harness.runtime.validate import validate_rwkv4

ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp64": 8, "uint8": 1, "int8": 1, "int64": 8}
_STORAGES = {
    "FloatStorage": "fp32",
    "HalfStorage": "fp16",
    "BFloat16Storage": "bf16",
    "DoubleStorage": "fp64",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "LongStorage": "int64",
}
_SAFETENSORS_DTYPES = {
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F64": "fp64",
    "U8": "uint8",
    "I8": "int8",
    "I64": "int64",
}
# Far above any real header, far below what would hurt: a 14B checkpoint's pickle is 0.2 MB.
_MAX_HEADER_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """Where one tensor lies in its file."""

    dtype: str  # fp32, fp16, bf16, fp64, uint8, int8 or int64
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in items, as torch counts them
    offset: int  # of the first item, in bytes from the start of the file

    @property
    def span(self) -> int:
        """Items from the first to the last one, gaps of a strided view included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    @property
    def span_bytes(self) -> int:
        """Bytes to read for this tensor."""
        return self.span * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """All that a checkpoint says of itself before a weight is read."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    shape: ModelShape


def read_header(path: str | Path) -> Header:
    """Read and check the header of an original RWKV-4 `.pth` or `.safetensors` checkpoint.

    Raises `CheckpointError`, saying what the file is, when it is anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            tensors = _read_tensors(file, path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    _check_ranges(path, tensors)
    shapes = {name: info.shape for name, info in tensors.items()}
    return Header(path=path, tensors=tensors, shape=validate_rwkv4(path, shapes))


def _read_tensors(file: BinaryIO, path: Path) -> dict[str, TensorInfo]:
    start = file.read(4096)
    if start[:4] == b"PK\x03\x04":
        return _read_zip(file, path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(file, path)
    raise CheckpointError(f"{path}: {describe_file(start)}")


# -- safetensors -------------------------------------------------------------------------------


def _read_safetensors(file: BinaryIO, path: Path) -> dict[str, TensorInfo]:
    """Eight bytes of length, a JSON header, then the data."""
    file.seek(0)
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= _MAX_HEADER_BYTES:
        file.seek(0)
        raise CheckpointError(f"{path}: not a safetensors file: {describe_file(file.read(4096))}")
    try:
        entries = json.loads(file.read(length).decode("utf-8"))
        return {
            name: _safetensors_info(entry, 8 + length)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the safetensors header is damaged ({error}). Download the file again."
        ) from error


def _safetensors_info(entry: Mapping[str, Any], data_start: int) -> TensorInfo:
    shape = tuple(int(n) for n in entry["shape"])
    begin, end = entry["data_offsets"]
    info = TensorInfo(
        dtype=_SAFETENSORS_DTYPES[entry["dtype"]],
        shape=shape,
        stride=_contiguous(shape),
        offset=data_start + int(begin),
    )
    if info.span_bytes != end - begin:
        raise ValueError(f"{end - begin} bytes for a tensor of {info.span_bytes}")
    return info


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    stride, step = [], 1
    for n in reversed(shape):
        stride.append(step)
        step *= n
    return tuple(reversed(stride))


# -- .pth --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage as the pickle names it: which zip entry, of what."""

    dtype: str
    key: str


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as the pickle describes it: a strided view into a storage."""

    storage: _Storage
    storage_offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage,
    storage_offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_requires_grad_and_hooks: object,
) -> _View:
    return _View(storage, storage_offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: _View, *_requires_grad_and_hooks: object) -> _View:
    return data


class _Unpickler(pickle.Unpickler):
    """Resolves only the names that a state dict needs, to functions that only describe."""

    _KNOWN: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        **{("torch", name): dtype for name, dtype in _STORAGES.items()},
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which a file of weights has no use for"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key = pid[:3]
        if kind != "storage" or not isinstance(dtype, str):
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        return _Storage(dtype, str(key))


def _read_zip(file: BinaryIO, path: Path) -> dict[str, TensorInfo]:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path}: the file is cut off or damaged ({error}). Download it again."
        ) from error
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickled = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickled) != 1:
        raise CheckpointError(f"{path}: a zip archive, but not one that torch.save wrote")
    if entries[pickled[0]].file_size > _MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: its index of tensors is implausibly large; refused")
    prefix = pickled[0][: -len("data.pkl")]
    if f"{prefix}byteorder" in entries and archive.read(f"{prefix}byteorder") != b"little":
        raise CheckpointError(f"{path}: written on a big-endian machine, which is not supported")
    views = _unpickle(archive.read(pickled[0]), path)
    starts: dict[str, int] = {}
    tensors = {}
    for name, view in views.items():
        key = f"{prefix}data/{view.storage.key}"
        if key not in entries:
            raise CheckpointError(f"{path}: '{name}' has no data in the file. Download it again.")
        if key not in starts:
            starts[key] = _data_start(file, entries[key], path)
        item = ITEM_BYTES[view.storage.dtype]
        info = TensorInfo(
            dtype=view.storage.dtype,
            shape=view.shape,
            stride=view.stride,
            offset=starts[key] + view.storage_offset * item,
        )
        if view.storage_offset * item + info.span_bytes > entries[key].file_size:
            raise CheckpointError(f"{path}: '{name}' reaches beyond its storage; damaged file")
        tensors[name] = info
    return tensors


def _unpickle(data: bytes, path: Path) -> dict[str, _View]:
    try:
        loaded = _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise CheckpointError(
            f"{path}: refused, because it is not a plain file of weights: {error}. "
            "Only tensors are read; a full pickle could run any code. Ask its author for a "
            "state dict, or for safetensors."
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a dict of tensors")
    odd = [name for name, value in loaded.items() if not _is_view(name, value)]
    if odd:
        raise CheckpointError(
            f"{path}: '{odd[0]}' is not a tensor. A whole training checkpoint or a converted "
            "model? This release reads original RWKV-4 weights."
        )
    return loaded


def _is_view(name: object, value: object) -> bool:
    """Whether an entry is a well-formed tensor: a pickle may put anything into the fields."""
    return (
        isinstance(name, str)
        and isinstance(value, _View)
        and isinstance(value.storage, _Storage)
        and len(value.shape) == len(value.stride)
        and all(
            isinstance(n, int) and n >= 0
            for n in (value.storage_offset, *value.shape, *value.stride)
        )
    )


def _data_start(file: BinaryIO, entry: zipfile.ZipInfo, path: Path) -> int:
    """Where an entry's bytes begin: behind its local header, whose length the index leaves out."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise CheckpointError(
            f"{path}: its tensors are compressed, as torch.save never does. Load it with torch "
            "and save it again."
        )
    file.seek(entry.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + int(name_length) + int(extra_length)


def _check_ranges(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    size = path.stat().st_size
    for name, info in tensors.items():
        if info.offset + info.span_bytes > size:
            raise CheckpointError(
                f"{path}: the file ends inside '{name}' ({size} bytes are there). "
                "The download broke off; get it again."
            )
