"""Writes a `.pth` as torch.save does, but tensor by tensor: nothing but one tensor is in memory.

A `.pth` is a zip of a pickle, which names storages and views into them, and one uncompressed entry
per storage. Storages begin at multiples of 64 bytes, so that they can be mapped into memory.
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
from typing import Any, BinaryIO

import torch

from harness.runtime.dtypes import NAMES
from harness.runtime.pth import STORAGES
from harness.runtime.safetensors_writer import raw_bytes
from harness.runtime.stored import StoredTensor
from harness.runtime.tensor_info import contiguous_strides

_ROOT = "archive"
_ALIGNMENT = 64
_STORAGES = {dtype: getattr(torch, name) for name, dtype in STORAGES.items()}
_LOCAL_HEADER_BYTES = 30
_ZIP64_EXTRA_BYTES = 20
_PADDING = struct.Struct("<HH")  # an extra field's header: id and length
_PADDING_ID = 0x4246


@dataclass(frozen=True, slots=True)
class _Storage:
    """What the pickle says of one storage."""

    key: str
    form: StoredTensor


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as the pickle describes it: contiguous in its storage, or the transpose of that."""

    storage: _Storage
    transposed: bool

    def __reduce__(self) -> tuple[Any, ...]:
        shape = self.storage.form.shape
        stride = contiguous_strides(shape)
        if self.transposed:
            shape, stride = shape[::-1], stride[::-1]
        hooks: OrderedDict[str, Any] = OrderedDict()
        rebuild = torch._utils._rebuild_tensor_v2  # noqa: SLF001
        return rebuild, (self.storage, 0, shape, stride, False, hooks)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        return "storage", _STORAGES[obj.form.dtype], obj.key, "cpu", prod(obj.form.shape)


class _Zip(zipfile.ZipFile):
    """A zip that is thrown away with its file, unless it was closed."""

    def __del__(self) -> None:
        """Not to be closed now: after an error, the file is closed already."""


class PthWriter:
    """Takes the tensors in the order in which they were announced.

    `transposed` names matrices that are announced and given as [out, in] and that a reader shall
    see as [in, out]. `extras` are entries without a tensor.
    """

    def __init__(
        self,
        file: BinaryIO,
        tensors: Mapping[str, StoredTensor],
        extras: Mapping[str, str | int],
        transposed: frozenset[str] = frozenset(),
    ) -> None:
        self._zip = _Zip(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._storages = {
            name: _Storage(str(i), form) for i, (name, form) in enumerate(tensors.items())
        }
        self._pending = iter(self._storages)
        views = {name: _View(one, name in transposed) for name, one in self._storages.items()}
        pickled = io.BytesIO()
        _Pickler(pickled, protocol=2).dump({**views, **extras})
        self._add("data.pkl", memoryview(pickled.getvalue()))
        self._add("byteorder", memoryview(b"little"))

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append one tensor."""
        storage = self._storages[next(self._pending)]
        assert storage is self._storages[name]
        assert (storage.form.dtype, prod(storage.form.shape)) == (
            NAMES[tensor.dtype],
            tensor.numel(),
        )
        self._add(f"data/{storage.key}", raw_bytes(tensor))

    def finish(self) -> None:
        """Write the zip's directory."""
        assert next(self._pending, None) is None
        self._add("version", memoryview(b"3\n"))
        self._zip.close()

    def _add(self, name: str, data: memoryview) -> None:
        info = zipfile.ZipInfo(f"{_ROOT}/{name}")
        info.file_size = data.nbytes
        is_large = data.nbytes >= 2**31  # then zipfile adds a field for 64-bit sizes
        assert self._zip.fp is not None
        start = self._zip.fp.tell() + _LOCAL_HEADER_BYTES + len(info.filename) + _PADDING.size
        padding = -(start + (_ZIP64_EXTRA_BYTES if is_large else 0)) % _ALIGNMENT
        info.extra = _PADDING.pack(_PADDING_ID, padding) + bytes(padding)
        with self._zip.open(info, "w", force_zip64=is_large) as entry:
            entry.write(data)
