"""Give memory back to the system while a model is loaded, so that its peak can be foreseen.

glibc serves blocks that were freed in the past from a heap that only shrinks at its end. Loading
frees a large temporary for every matrix it keeps, and what is kept lies in between: up to half of a
small int8 model again stays resident, another amount in every process. While a model is loaded,
large blocks are therefore mapped one by one and unmapped when they are freed. Afterwards the
thresholds are those that glibc itself arrives at when it sees large blocks come and go, because
the temporaries of a forward pass are faster from the heap.

Other allocators are left alone. Knows nothing of models, and no torch.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_MAPPED_FROM = 2**18  # bytes: a matrix of the smallest published model has more
# glibc's own bounds for what it adapts by itself (mallopt(3), 64 bits).
_ADAPTED_MMAP = 2**25
_ADAPTED_TRIM = 2 * _ADAPTED_MMAP


@contextmanager
def returning_memory() -> Iterator[None]:
    """Within it, and from then on, what large temporaries took is not kept resident."""
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _ADAPTED_MMAP)
        libc.mallopt(_M_TRIM_THRESHOLD, _ADAPTED_TRIM)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
    except OSError:
        return None
