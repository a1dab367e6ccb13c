"""The memory modules in the tables of the firmware (SMBIOS), which only root may read on Linux.

Reads kind, size and speed; serial and part numbers stand beside them and are left alone.
`parse_modules` is pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.machine.facts import Facts, NotKnown, unavailable

_TABLE = "sys/firmware/dmi/tables/DMI"
_NAMES = ("ram_type", "ram_modules", "ram_speed_mt_per_s")
_MEMORY_DEVICE, _END = 17, 127  # types of structures
_HEADER = 4  # bytes: type, length, handle
_SIZE, _TYPE, _SPEED, _CONFIGURED = 0x0C, 0x12, 0x15, 0x20  # where a device has them
_NOT_SAID = (0, 0xFFFF)
_TYPES = {
    0x13: "DDR2",
    0x18: "DDR3",
    0x1A: "DDR4",
    0x1B: "LPDDR",
    0x1C: "LPDDR2",
    0x1D: "LPDDR3",
    0x1E: "LPDDR4",
    0x20: "HBM",
    0x21: "HBM2",
    0x22: "DDR5",
    0x23: "LPDDR5",
    0x24: "HBM3",
}


class Module(NamedTuple):
    """One module that is plugged in."""

    type: str | None
    mt_per_s: int | None  # as it runs; what it could do, where the firmware does not say that


def module_facts(root: Path) -> Facts:
    """Kind, number and speed of the modules, or why they are not known."""
    try:
        modules = parse_modules((root / _TABLE).read_bytes())
    except OSError as error:
        who = ", only root may read it" if isinstance(error, PermissionError) else ""
        reason = f"/{_TABLE}: {error.strerror or type(error).__name__}{who}"
        return dict.fromkeys(_NAMES, unavailable(reason))
    except (NotKnown, struct.error, IndexError) as error:
        return dict.fromkeys(_NAMES, unavailable(f"/{_TABLE} is not understood: {error}"))
    kinds = sorted({one.type for one in modules if one.type is not None})
    speeds = [one.mt_per_s for one in modules if one.mt_per_s is not None]
    silent = unavailable("the firmware does not say")
    return {
        "ram_type": " and ".join(kinds) or silent,
        "ram_modules": len(modules),
        "ram_speed_mt_per_s": min(speeds, default=silent),
    }


def parse_modules(table: bytes) -> list[Module]:
    """The modules in an SMBIOS table; raises `NotKnown` where it lists none."""
    modules = []
    for structure in _structures(table):
        if structure[0] != _MEMORY_DEVICE or _word(structure, _SIZE) in (0, None):
            continue  # something else, or an empty slot
        speeds = (_word(structure, _CONFIGURED), _word(structure, _SPEED))
        modules.append(
            Module(
                type=_TYPES.get(structure[_TYPE]),
                mt_per_s=next((s for s in speeds if s is not None and s not in _NOT_SAID), None),
            )
        )
    if not modules:
        raise NotKnown("it lists no memory")
    return modules


def _structures(table: bytes) -> Iterator[bytes]:
    """The formatted part of each; texts follow it, up to two zeros."""
    at = 0
    while at + _HEADER <= len(table) and table[at] != _END:
        length = table[at + 1]
        yield table[at : at + length]
        end = table.find(b"\0\0", at + length)
        if end < 0:
            return
        at = end + 2


def _word(structure: bytes, offset: int) -> int | None:
    """None where the firmware is older than the field."""
    if offset + 2 > len(structure):
        return None
    return int(struct.unpack_from("<H", structure, offset)[0])
