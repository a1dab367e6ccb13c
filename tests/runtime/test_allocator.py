import platform
import subprocess
import sys

import pytest

from harness.runtime import allocator
from harness.runtime.allocator import returning_memory

# What stays lies between what goes; the sizes are those of a small model's matrices.
PROBE = """
import ctypes, sys
from contextlib import nullcontext
import numpy as np
from harness.machine.memory import rss_bytes
from harness.runtime.allocator import returning_memory

del_first = np.ones(2**24, np.uint8); del del_first  # glibc now takes 16 MiB for small
before = rss_bytes().bytes
kept = []
with returning_memory() if sys.argv[1] == "with" else nullcontext():
    for _ in range(20):
        temporary = np.ones(4 * 2**20, np.uint8)
        kept.append(np.ones(2**20, np.uint8))
        del temporary
        spare = np.ones(6 * 2**20, np.uint8)
        kept.append(np.ones(2**18, np.uint8))
        del spare
print(rss_bytes().bytes - before - sum(one.nbytes for one in kept))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
def test_what_was_freed_between_what_stays_is_given_back():
    left = {}
    for how in ("with", "without"):
        done = subprocess.run(
            [sys.executable, "-c", PROBE, how], capture_output=True, check=True, text=True
        )
        left[how] = int(done.stdout)
    assert left["with"] < 2 * 2**20 < left["without"]


def test_other_allocators_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert allocator._glibc() is None
    with returning_memory():
        pass


def test_thresholds_are_set_back_also_where_loading_fails(monkeypatch):
    class Libc:
        def __init__(self):
            self.set = {}

        def mallopt(self, name, value):
            self.set[name] = value

        def malloc_trim(self, _):
            self.set["trimmed"] = True

    libc = Libc()
    monkeypatch.setattr(allocator, "_glibc", lambda: libc)
    within = {}

    def load():
        with returning_memory():
            within.update(libc.set)
            raise MemoryError

    with pytest.raises(MemoryError):
        load()
    assert within == {allocator._M_MMAP_THRESHOLD: allocator._MAPPED_FROM}
    assert libc.set == {
        allocator._M_MMAP_THRESHOLD: allocator._ADAPTED_MMAP,
        allocator._M_TRIM_THRESHOLD: allocator._ADAPTED_TRIM,
        "trimmed": True,
    }
