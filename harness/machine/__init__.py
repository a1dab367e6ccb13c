"""What this machine is: facts that identify it, and the memory of this process.

`probe_machine` looks once at the hardware and the software; `rss_bytes` and `peak_rss_bytes` read
this process. Everything behind them is one module per operating system or topic, each of which may
lack any fact. Knows nothing of studies or records.
"""

from harness.machine.machine import Accelerator, Machine
from harness.machine.memory import MemoryReading, peak_rss_bytes, rss_bytes
from harness.machine.probe import probe_machine

__all__ = [
    "Accelerator",
    "Machine",
    "MemoryReading",
    "peak_rss_bytes",
    "probe_machine",
    "rss_bytes",
]
