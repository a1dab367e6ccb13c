"""What macOS charges this process for, as Activity Monitor shows it; elsewhere nothing does.

Asks libproc, which needs no rights for one's own process. The layout is that of `rusage_info_v0` in
the system's header sys/resource.h: 16 bytes of identity, then numbers of 64 bits.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable

from harness.machine.memory import MemoryReading

_FLAVOR = 0  # RUSAGE_INFO_V0
_SIZE = 512  # of the buffer: more than any version takes
_FOOTPRINT_AT = 16 + 7 * 8  # ri_phys_footprint

Ask = Callable[[int], bytes]


def footprint_bytes(platform: str = sys.platform, ask: Ask | None = None) -> MemoryReading:
    """`phys_footprint` of this process now; `ask` gives the system's answer for a process."""
    if platform != "darwin":
        return MemoryReading(missing="a figure of macOS")
    try:
        answer = (_libproc if ask is None else ask)(os.getpid())
    except (OSError, AttributeError) as error:
        return MemoryReading(missing=f"libproc: {error}")
    return MemoryReading(
        bytes=parse_footprint(answer), method="phys_footprint of proc_pid_rusage, at the end"
    )


def parse_footprint(answer: bytes) -> int:
    """The footprint in a `rusage_info_v0` or later."""
    (found,) = struct.unpack_from("<Q", answer, _FOOTPRINT_AT)
    return int(found)


def _libproc(pid: int) -> bytes:
    libproc = ctypes.CDLL("/usr/lib/libproc.dylib", use_errno=True)
    buffer = ctypes.create_string_buffer(_SIZE)
    if libproc.proc_pid_rusage(pid, _FLAVOR, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw
