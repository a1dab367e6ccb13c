"""One switch for all probes, so that a test can run the whole flow on a machine that says nothing.

Every figure and fact is then unavailable, as it may be on a system we have not seen.
"""

from __future__ import annotations

import os

VARIABLE = "RWKV_HARNESS_PROBES"


def probes_are_off() -> bool:
    """Whether RWKV_HARNESS_PROBES=off; the workers inherit it."""
    return os.environ.get(VARIABLE) == "off"
