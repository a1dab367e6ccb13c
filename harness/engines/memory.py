"""What an engine says of the memory that it holds: a part of the protocol in `base.py`.

Names of figures are those of records. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes and how they were counted, or the reason why they are not known."""

    bytes: int | None = None
    method: str | None = None
    missing: str | None = None


@dataclass(frozen=True, kw_only=True)
class SessionMemory:
    """What a session holds beside ordinary memory. Peaks are those since `restart_memory`."""

    # By device, such as `cuda:0`; then by figure: `allocated_peak_bytes`, `reserved_peak_bytes`,
    # `process_bytes`, `device_used_bytes`, those that the engine can tell.
    devices: Mapping[str, Mapping[str, Held]] = field(default_factory=dict)
    pinned: Held = Held(missing="the engine does not say what it page-locks")

    def allocated_peaks(self) -> dict[str, int]:
        """Device -> bytes, where the allocator keeps a peak."""
        peaks = {
            device: figures["allocated_peak_bytes"].bytes
            for device, figures in self.devices.items()
            if "allocated_peak_bytes" in figures
        }
        return {device: peak for device, peak in peaks.items() if peak is not None}
