"""A file of small forms of a reference, by key: an `.npz`, so that numpy reads it too.

Equal forms give equal bytes, on every machine and with every release of numpy: no time, no
compression, arrays' headers written here. What is read is not trusted: only what this module would
have written is accepted, and no number is used before it was looked at. Knows keys as words.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.errors import RecordsError
from harness.quality.small_form import KEPT, SmallForm, joined_forms
from harness.records.writing import put_whole

SMALL_SUFFIX = ".npz"
SCHEMA = 1

_ABOUT = "about.json"
_MOST_ABOUT_BYTES = 2**24
_MOST_VOCAB = 2**24
_MOST_ROWS = 2**24
_NEAR = 1e-6  # of sums that were made in float64
_Array = npt.NDArray[Any]


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """The first entry: what the others hold. The arrays have the rows of all keys, in order."""

    schema: int
    n_vocab: int
    rows: dict[str, int]  # by key


def write_small_forms(path: Path, forms: Mapping[str, SmallForm]) -> None:
    """Write them, whole or not at all; at least one. Raises RecordsError, BadInput."""
    whole = joined_forms(forms.values())
    about = _About(
        schema=SCHEMA, n_vocab=whole.n_vocab, rows={key: len(one) for key, one in forms.items()}
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_whole(path, _packed(about, whole))
    except OSError as error:
        raise RecordsError(
            f"{path}: cannot be written ({error.strerror or error}). Make room, and run again."
        ) from error


def _packed(about: _About, whole: SmallForm) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        file.writestr(_entry(_ABOUT), msgspec.json.encode(about))
        for name, (dtype, shape) in _layout(len(whole), whole.n_vocab).items():
            array = np.ascontiguousarray(getattr(whole, name), dtype=dtype)
            assert array.shape == shape
            file.writestr(_entry(f"{name}.npy"), _header(dtype, shape) + array.tobytes())
    return packed.getvalue()


def read_small_forms(path: Path) -> dict[str, SmallForm]:
    """What such a file holds, by key. Raises RecordsError for a file that is none."""
    try:
        with zipfile.ZipFile(path) as file:
            about, whole = _read(file)
            _check(whole)
    except FileNotFoundError as error:
        raise RecordsError(f"{path}: there is no such file") from error
    except OSError as error:
        raise RecordsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RuntimeError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        # RuntimeError: an encrypted entry, or one that needs a newer zip
        raise RecordsError(
            f"{path}: not a file of small forms of a reference ({error}). Remove it; it is made "
            "again where the weights are."
        ) from error
    ends = np.cumsum([0, *about.rows.values()]).tolist()
    return {
        key: whole.rows(start, end)
        for key, start, end in zip(about.rows, ends[:-1], ends[1:], strict=True)
    }


def _read(file: zipfile.ZipFile) -> tuple[_About, SmallForm]:
    """The arrays, as large as they say they are. Raises ValueError, and what zipfile does."""
    about = msgspec.json.decode(_bytes(file, _ABOUT, None), type=_About)
    if about.schema != SCHEMA:
        raise ValueError(f"its schema is {about.schema}, and this release knows {SCHEMA}")
    if not 1 <= about.n_vocab <= _MOST_VOCAB or min(about.rows.values(), default=-1) < 0:
        raise ValueError("it has no rows, or no vocabulary")
    n = sum(about.rows.values())
    if n > _MOST_ROWS:
        raise ValueError(f"it says that it has {n:,} rows")
    layout = _layout(n, about.n_vocab)
    if file.namelist() != [_ABOUT, *(f"{name}.npy" for name in layout)]:
        raise ValueError("it has other entries")
    arrays: dict[str, Any] = {}
    for name, (dtype, shape) in layout.items():
        header = _header(dtype, shape)
        size = len(header) + dtype.itemsize * int(np.prod(shape))
        data = _bytes(file, f"{name}.npy", size)
        if not data.startswith(header):
            raise ValueError(f"{name} has another form than {dtype} {list(shape)}")
        array = np.frombuffer(data, dtype=dtype, offset=len(header)).reshape(shape)
        arrays[name] = array.astype(np.int64) if dtype.kind == "u" else array
    return about, SmallForm(n_vocab=about.n_vocab, **arrays)


def _bytes(file: zipfile.ZipFile, name: str, size: int | None) -> bytes:
    """An entry, where it is stored as it is and as large as it must be. Raises ValueError."""
    try:
        info = file.getinfo(name)
    except KeyError:
        raise ValueError(f"it has no {name}") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    allowed = info.file_size <= _MOST_ABOUT_BYTES if size is None else info.file_size == size
    if not allowed:
        raise ValueError(f"{name} has {info.file_size:,} bytes")
    return file.read(info)


def _layout(n: int, n_vocab: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """dtype and shape of each array, in the order of the file."""
    k = min(KEPT, n_vocab)
    token = np.dtype("<u2" if n_vocab <= 2**16 else "<u4")
    wide = np.dtype("<f8")
    return {
        "ids": (token, (n, k)),
        "log_p": (np.dtype("<f4"), (n, k)),
        "log_sum": (wide, (n,)),
        "others": (wide, (n,)),
        "entropy": (wide, (n,)),
        "targets": (token, (n,)),
        "target_log_p": (wide, (n,)),
    }


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The header of an `.npy`, version 1.0: numpy's own has other spaces in other releases."""
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape!r}, }}"
    before = len(b"\x93NUMPY\x01\x00") + 2
    padded = text + " " * (-(before + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("ascii")


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry as it is on every system, in 1980."""
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _check(form: SmallForm) -> None:
    """Raise ValueError for numbers that no reference gives."""
    for name in ("log_p", "log_sum", "entropy", "target_log_p"):
        if not np.isfinite(getattr(form, name)).all():
            raise ValueError(f"{name} is not finite")
    if not len(form):
        return
    if max(form.ids.max(), form.targets.max()) >= form.n_vocab:
        raise ValueError("a token is outside the vocabulary")
    _check_order(form)
    log_p = form.log_p.astype(np.float64) - form.log_sum[:, None]
    with np.errstate(over="ignore"):
        mass = np.exp(log_p).sum(axis=1) + np.exp(form.others)
    if not (np.abs(mass - 1) < _NEAR).all():  # NaN is not
        raise ValueError("the probabilities of a row do not add up to 1")
    if form.entropy.min() < -_NEAR or form.target_log_p.max() > _NEAR:
        raise ValueError("an entropy is negative, or a probability above 1")
    if form.n_vocab == form.ids.shape[1] and not np.isneginf(form.others).all():
        raise ValueError("there are others where there can be none")


def _check_order(form: SmallForm) -> None:
    """The likeliest first, lowest id first on ties, none twice."""
    falls = np.diff(form.log_p, axis=1) < 0
    ties = (np.diff(form.log_p, axis=1) == 0) & (np.diff(form.ids, axis=1) > 0)
    distinct = (np.diff(np.sort(form.ids, axis=1), axis=1) > 0).all()
    if not (falls | ties).all() or not distinct:
        raise ValueError("the tokens of a row are in no order")
