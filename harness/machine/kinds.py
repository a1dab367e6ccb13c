"""The kinds of facts: the JSON type of the value, its unit, and how it is written for people.

Knows no fact: which kind each is stands in `declared.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.sizes import size

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "mapping": (dict,),
}


def plain(value: Any) -> str:
    """A JSON value of any type as text: `yes`, `2`, `avx2, fma`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What the values of some facts have in common."""

    type: str  # of the JSON value: one of `_TYPES`, a list of texts or of mappings, or any
    unit: str | None = None
    printer: Callable[[Any], str] = plain
    of: Kind | None = None  # of what a mapping maps to

    def accepts(self, value: Any) -> bool:
        """Whether the value has this type; of a mapping also whether its members have theirs."""
        if self.type == "any":
            return True
        if isinstance(value, bool) is not (self.type == "boolean"):
            return False
        if isinstance(value, list):
            item = {"list of texts": str, "list of mappings": dict}.get(self.type)
            return item is not None and all(isinstance(one, item) for one in value)
        if isinstance(value, dict) and self.of is not None:
            return all(is_unavailable(one) or self.of.accepts(one) for one in value.values())
        return isinstance(value, _TYPES.get(self.type, ()))

    def text(self, value: Any) -> str:
        """The value for people; one of another type, as an old record may have it, plainly."""
        return self.printer(value) if self.accepts(value) else plain(value)


def is_unavailable(value: Any) -> bool:
    """Whether this stands in place of a fact, and says why."""
    return isinstance(value, dict) and value.keys() == {"unavailable"}


def _with(unit: str) -> Callable[[float], str]:
    return lambda value: f"{value:,.10g} {unit}"


TEXT = Kind(type="text")
HASH = Kind(type="text")  # 64 hexadecimal digits, which narrow tables may cut
COUNT = Kind(type="integer", printer=lambda value: f"{value:,}")
CPUS = Kind(type="number", unit="CPU", printer=_with("CPU"))
BYTES = Kind(type="integer", unit="B", printer=size)
MHZ = Kind(type="number", unit="MHz", printer=lambda value: f"{value:,.0f} MHz")
TRANSFERS = Kind(type="integer", unit="MT/s", printer=_with("MT/s"))
WATTS = Kind(type="number", unit="W", printer=_with("W"))
LANES = Kind(type="integer", printer=lambda value: f"x{value}")
YES_NO = Kind(type="boolean")
NAMES = Kind(type="list of texts")
ANY = Kind(type="any")
SIZES = Kind(type="mapping", unit="B", of=BYTES)
CLOCKS = Kind(type="mapping", unit="MHz", of=MHZ)
COUNTS = Kind(type="mapping", of=COUNT)
PAIRS = Kind(type="mapping", of=ANY)  # names and what they are set to
OBJECTS = Kind(type="list of mappings")  # with members that are declared by themselves
