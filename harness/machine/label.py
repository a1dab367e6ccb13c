"""The default name of a machine: a slug of CPU and GPU plus 6 hex digits.

The digits come from hardware alone, so they survive an update of the system; two machines of one
build share them. The host name is never asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence

from harness.machine.facts import Facts, number, text

_GIB = 2**30
# What vendors write around the name of a processor or GPU.
_NOISE = re.compile(
    r"\((?:r|tm|c)\)|@.*|\b(?:\d+-core|cpu|processor|with radeon.*|nvidia|geforce)\b",
    re.IGNORECASE,
)
_MAX_PART = 32


def machine_label(facts: Facts, gpu_names: Sequence[str]) -> str:
    """The label of a machine with these facts and these GPUs beside the CPU, used or not."""
    cpu = text(facts, "cpu_model") or text(facts, "arch") or "unknown"
    hardware = {
        "arch": text(facts, "arch"),
        "cpu": text(facts, "cpu_model"),
        "cores": number(facts, "cpu_cores"),
        "threads": number(facts, "cpu_threads"),
        "ram_gib": ram_class_gib(number(facts, "ram_bytes")),
        "gpus": sorted(gpu_names),
    }
    digest = hashlib.sha256(json.dumps(hardware, sort_keys=True).encode()).hexdigest()
    return "-".join(part for part in (slug(cpu), _gpu_slug(gpu_names), digest[:6]) if part)


def slug(name: str) -> str:
    """A hardware name as part of a file name: `Intel(R) Xeon(R) CPU @ 2.20GHz` -> `intel-xeon`."""
    words = re.sub(r"[^a-z0-9]+", "-", _NOISE.sub(" ", name).lower()).strip("-")
    return words[:_MAX_PART].rstrip("-") or "unknown"


def ram_class_gib(ram_bytes: int | None) -> int | None:
    """Installed memory in GiB, guessed from what the kernel leaves of it.

    Rounded up in steps of about an eighth, so that a kernel that keeps a little more for itself
    does not make another machine.
    """
    if ram_bytes is None:
        return None
    gib = max(1, -(-ram_bytes // _GIB))
    step = max(1, (1 << gib.bit_length() - 1) // 8)
    return -(-gib // step) * step


def _gpu_slug(names: Sequence[str]) -> str:
    counts = Counter(slug(name) for name in names)
    return "-".join(f"{n}x-{gpu}" if n > 1 else gpu for gpu, n in sorted(counts.items()))[
        : 2 * _MAX_PART
    ].rstrip("-")
