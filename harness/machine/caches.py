"""How many caches of the last level a machine has: large processors have one for each few cores.

Knows how many, not how large: that is a fact (`cpu_caches_bytes`), which says the size of one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.machine.facts import NotKnown, read
from harness.machine.procfs import CPU, paths
from harness.machine.switch import probes_are_off


def last_level_caches(root: Path = Path("/"), platform: str = sys.platform) -> int:
    """How many there are; 1 where the system does not say."""
    if platform != "linux" or probes_are_off():
        return 1
    try:
        return len(_sharers(root))
    except (NotKnown, ValueError):
        return 1


def _sharers(root: Path) -> set[str]:
    """Which processors share one, for each of them: `0-7`, `8-15`."""
    of_first = paths(root, f"{CPU}/cpu0/cache/index*")
    levels = {int(read(root, f"{path.relative_to(root)}/level")): path.name for path in of_first}
    last = levels[max(levels)]
    found = paths(root, f"{CPU}/cpu[0-9]*/cache/{last}/shared_cpu_list")
    return {read(root, str(path.relative_to(root))) for path in found}
