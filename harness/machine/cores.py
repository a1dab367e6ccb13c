"""How many cores this process may keep busy: fewer than there are, in a container or under taskset.

Knows the machine's facts and this process' affinity.
"""

from __future__ import annotations

import os

from harness.machine.machine import Machine


def usable_cores(machine: Machine) -> int | None:
    """Physical cores, or fewer CPUs where a cgroup or an affinity leaves fewer; None: not known."""
    if machine.cores is None:
        return None
    allowed = [machine.cores]
    quota = machine.facts.get("cgroup_cpus")
    if isinstance(quota, int | float):
        allowed.append(max(1, int(quota)))
    if hasattr(os, "sched_getaffinity"):  # Linux
        allowed.append(len(os.sched_getaffinity(0)))
    return min(allowed)
