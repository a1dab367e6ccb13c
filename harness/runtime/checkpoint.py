"""What is in a weights file: names, dtypes, shapes and byte ranges, without torch.

Weights are untrusted input: headers are read by `pth.py` and by the safetensors reader here, and
whatever is wrong with a file comes out as a `CheckpointError`. The tensors themselves are read
elsewhere (`tensors.py`), one by one, by the byte ranges found here: no memory map and no full load,
also when all tensors of a file are views into one storage.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import CheckpointError
from harness.runtime.converted import Converted, is_converted, read_converted, why_unfit
from harness.runtime.identify import describe_file
from harness.runtime.pth import MAX_INDEX_BYTES, read_pth
from harness.runtime.shape import ModelShape
from harness.runtime.tensor_info import TensorInfo, contiguous_strides
from harness.runtime.validate import validate_rwkv4

_SAFETENSORS_DTYPES = {
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F64": "fp64",
    "U8": "uint8",
    "I8": "int8",
    "I64": "int64",
}
# What the readers of zip and JSON raise on bytes that are not what they claim to be.
_DAMAGE = (
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,  # NotImplemented and recursion errors among them
    TypeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """All that a checkpoint says of itself before a weight is read."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    shape: ModelShape
    converted: Converted | None = None  # None for an original checkpoint

    def why_unfit(self, strategy: str) -> str | None:
        """Why this file cannot serve `strategy`, with the way out; None where it can."""
        return why_unfit(self.path, self.converted, strategy, self.shape.n_layer)


def read_header(path: str | Path) -> Header:
    """Read and check the header of an RWKV-4 `.pth` or `.safetensors`, original or converted.

    Raises `CheckpointError`, saying what the file is, when it is anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            tensors, extras = _read_tensors(file, path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path}: the file is damaged ({error or type(error).__name__}). Download it again."
        ) from error
    _check_ranges(path, tensors)
    if is_converted(extras):
        shape, converted = read_converted(path, tensors, extras)
        return Header(path=path, tensors=tensors, shape=shape, converted=converted)
    shapes = {name: info.shape for name, info in tensors.items()}
    return Header(path=path, tensors=tensors, shape=validate_rwkv4(path, shapes))


def _read_tensors(file: BinaryIO, path: Path) -> tuple[dict[str, TensorInfo], dict[str, Any]]:
    """The tensors, and what the file holds beside them."""
    start = file.read(4096)
    if start[:4] == b"PK\x03\x04":
        return read_pth(file, path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(file, path)
    raise CheckpointError(f"{path}: {describe_file(start)}")


# -- safetensors -------------------------------------------------------------------------------


def _read_safetensors(file: BinaryIO, path: Path) -> tuple[dict[str, TensorInfo], dict[str, Any]]:
    """Eight bytes of length, a JSON header, then the data."""
    file.seek(0)
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= MAX_INDEX_BYTES:
        file.seek(0)
        raise CheckpointError(f"{path}: not a safetensors file: {describe_file(file.read(4096))}")
    entries = json.loads(file.read(length).decode("utf-8"))
    metadata = dict(entries.pop("__metadata__", {}))
    tensors = {name: _safetensors_info(entry, 8 + length) for name, entry in entries.items()}
    return tensors, metadata


def _safetensors_info(entry: Mapping[str, Any], data_start: int) -> TensorInfo:
    shape = _naturals(entry["shape"])
    begin, end = _naturals(entry["data_offsets"])
    info = TensorInfo(
        dtype=_SAFETENSORS_DTYPES[entry["dtype"]],
        shape=shape,
        stride=contiguous_strides(shape),
        offset=data_start + begin,
    )
    if info.span_bytes != end - begin:
        raise ValueError(f"{end - begin} bytes for a tensor of {info.span_bytes}")
    return info


def _naturals(values: Sequence[Any]) -> tuple[int, ...]:
    """Whole numbers that are not negative; JSON may hold anything in their place."""
    if not all(type(n) is int and n >= 0 for n in values):
        raise ValueError(f"{values!r} are not sizes")
    return tuple(values)


def _check_ranges(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    size = path.stat().st_size
    for name, info in tensors.items():
        if info.offset + info.span_bytes > size:
            raise CheckpointError(
                f"{path}: the file ends inside '{name}' ({size} bytes are there). "
                "The download broke off; get it again."
            )
