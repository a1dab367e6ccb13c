"""Run by `test_forecast_memory.py` in a fresh interpreter: the real growth of resident memory.

Arguments: weights, strategy. Prints the peaks of loading, decoding and prefill, in bytes beyond
what the imports left, as JSON.
"""

import json
import sys
from pathlib import Path

import torch

from harness.machine.memory import peak_rss_bytes
from harness.runtime.model import load_model
from harness.runtime.ops import _has_half_on_cpu

DECODED = 8


def begin_phase():
    """The high-water mark begins anew from what is resident now (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main():
    weights, strategy = sys.argv[1:]
    torch.set_num_threads(1)
    begin_phase()
    imports = peak_rss_bytes().bytes
    grown = {}
    model = load_model(weights, strategy)
    grown["load"] = peak_rss_bytes().bytes - imports
    begin_phase()
    state = None
    for token in range(DECODED):
        _, state = model.forward([token], state)
    grown["decode"] = peak_rss_bytes().bytes - imports
    begin_phase()
    for _ in range(2):
        model.forward(list(range(256)))
    grown["prefill"] = peak_rss_bytes().bytes - imports
    print(json.dumps({"grown": grown, "half_on_cpu": _has_half_on_cpu()}))


main()
