"""The index of a `.pth`: a zip with a pickle inside, read without torch and without trust.

The pickle is read by an unpickler that knows a closed list of names, each of which only describes a
tensor, so nothing that a file says is ever executed.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from harness.errors import CheckpointError
from harness.runtime.tensor_info import ITEM_BYTES, TensorInfo

MAX_INDEX_BYTES = 64 * 2**20  # far above any real index: a 14B checkpoint's is 0.2 MB
# torch's classes of storages, by name, and what they hold.
STORAGES = {
    "FloatStorage": "fp32",
    "HalfStorage": "fp16",
    "BFloat16Storage": "bf16",
    "DoubleStorage": "fp64",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "LongStorage": "int64",
}


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


class _Unpickler(pickle._Unpickler):  # noqa: SLF001
    """Resolves only the names that a state dict needs, to functions that only describe.

    The one written in Python: the C one lets a file of 100 bytes reserve gigabytes for its memo.
    """

    _KNOWN: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        **{("torch", name): dtype for name, dtype in STORAGES.items()},
    }

    def load_build(self) -> None:
        """Attributes (a state dict has `_metadata`) are dropped, never set on anything."""
        self.stack.pop()  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,  # noqa: SLF001
        pickle.BUILD[0]: load_build,
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


def read_pth(file: BinaryIO, path: Path) -> tuple[dict[str, TensorInfo], dict[str, Any]]:
    """Every tensor of a zip that torch.save wrote, and its texts and whole numbers named `_…`.

    A converted model has such entries. Raises `CheckpointError` for any other zip or content. What
    zipfile raises on damaged bytes is left to the caller.
    """
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
    prefix = pickled[0][: -len("data.pkl")]
    if _read_entry(archive, entries.get(f"{prefix}byteorder"), 16, path) not in (b"", b"little"):
        raise CheckpointError(f"{path}: written on a big-endian machine, which is not supported")
    views, extras = _unpickle(
        _read_entry(archive, entries[pickled[0]], MAX_INDEX_BYTES, path), path
    )
    starts: dict[str, int] = {}
    tensors = {}
    for name, view in views.items():
        key = f"{prefix}data/{view.storage.key}"
        if key not in entries:
            raise CheckpointError(f"{path}: '{name}' has no data in the file. Download it again.")
        if key not in starts:
            starts[key] = _data_start(file, entries[key], path)
        tensors[name] = _locate(name, view, starts[key], entries[key].file_size, path)
    return tensors, extras


def _read_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, most: int, path: Path
) -> bytes:
    """A small entry of the archive; empty where it is missing."""
    if entry is None:
        return b""
    if entry.file_size > most:
        raise CheckpointError(f"{path}: '{entry.filename}' is implausibly large; refused")
    return archive.read(entry)


def _locate(name: str, view: _View, start: int, storage_bytes: int, path: Path) -> TensorInfo:
    """Where a view lies in the file, if it lies within its storage and repeats nothing."""
    item = ITEM_BYTES[view.storage.dtype]
    info = TensorInfo(
        dtype=view.storage.dtype,
        shape=view.shape,
        stride=view.stride,
        offset=start + view.storage_offset * item,
    )
    if prod(info.shape) > info.span:
        raise CheckpointError(f"{path}: '{name}' repeats its numbers, as no weights do; refused")
    if view.storage_offset * item + info.span_bytes > storage_bytes:
        raise CheckpointError(f"{path}: '{name}' reaches beyond its storage; damaged file")
    return info


def _unpickle(data: bytes, path: Path) -> tuple[dict[str, _View], dict[str, Any]]:
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
    extras = {name: value for name, value in loaded.items() if _is_extra(name, value)}
    views = {name: value for name, value in loaded.items() if name not in extras}
    odd = [name for name, value in views.items() if not _is_view(name, value)]
    if odd:
        raise CheckpointError(
            f"{path}: '{odd[0]}' is not a tensor. A whole training checkpoint? Ask for the weights "
            "alone (a state dict)."
        )
    return views, extras


def _is_extra(name: object, value: object) -> bool:
    """Whether an entry is one of those that a converted model has beside its tensors."""
    return isinstance(name, str) and name.startswith("_") and type(value) in (str, int)


def _is_view(name: object, value: object) -> bool:
    """Whether an entry is a well-formed tensor: a pickle may put anything into the fields."""
    return (
        isinstance(name, str)
        and isinstance(value, _View)
        and isinstance(value.storage, _Storage)
        and len(value.shape) == len(value.stride)
        and all(
            type(n) is int and n >= 0 for n in (value.storage_offset, *value.shape, *value.stride)
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
