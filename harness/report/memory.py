"""The memory of a strategy from that of its trials, without figures that cannot be true.

Knows bytes; what a peak is of, and why a trial has none, the records say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.records.record import Memory, MemoryForecast, Record
from harness.report.format import size
from harness.report.phases import MOST_BYTES, phases_of
from harness.report.values import MemoryUse

# What a driver or an allocator says that was held of a device: the largest of them had to fit.
_HELD = ("allocated_peak_bytes", "reserved_peak_bytes", "process_bytes")


def memory_of(records: Sequence[Record]) -> MemoryUse:
    """The largest of the trials: the question that a peak answers is whether it fits."""
    peaks = [plausible(record.memory) for record in records]
    devices = dict.fromkeys(name for memory in peaks for name in memory.device_peak_bytes)
    foreseen = [memory.forecast for memory in peaks if memory.forecast is not None]
    foreseen_on = dict.fromkeys(name for one in foreseen for name in one.device_peak_bytes)
    return MemoryUse(
        trials=sum(bool(one.peak_rss_bytes or one.device_peak_bytes) for one in peaks),
        peak_rss_bytes=_largest(memory.peak_rss_bytes for memory in peaks),
        import_rss_bytes=_largest(memory.import_rss_bytes for memory in peaks),
        model_bytes=_largest(
            memory.peak_rss_bytes - memory.import_rss_bytes
            for memory in peaks
            if memory.peak_rss_bytes is not None and memory.import_rss_bytes is not None
        ),
        device_peak_bytes={
            name: max(memory.device_peak_bytes.get(name, 0) for memory in peaks) for name in devices
        },
        forecast_bytes=_largest(one.peak_rss_bytes for one in foreseen),
        device_forecast_bytes={
            name: max(one.device_peak_bytes.get(name, 0) for one in foreseen)
            for name in foreseen_on
        },
        device_held_bytes=_held(records, peaks),
    )


def _held(records: Sequence[Record], peaks: Sequence[Memory]) -> dict[str, int]:
    """The most that each device held, by any method; 0 where no method tells."""
    found = [one for memory in peaks for one in memory.device_peak_bytes.items()]
    for phase in phases_of(records):
        for name, figures in phase.devices.items():
            found += [(name, figures[of].bytes or 0) for of in _HELD if of in figures]
    held: dict[str, int] = {}
    for name, n_bytes in found:
        held[device_key(name)] = max(held.get(device_key(name), 0), n_bytes)
    return held


def plausible(memory: Memory) -> Memory:
    """The same without figures that no machine can have had; `missing` says which."""
    before, peak = memory.import_rss_bytes, memory.peak_rss_bytes
    missing = dict(memory.missing)
    if before is not None and not 0 <= before <= MOST_BYTES:
        missing["import_rss_bytes"] = f"the record says {before:,} bytes, which cannot be"
        before = None
    if peak is not None and not 0 < peak <= MOST_BYTES:
        missing["peak_rss_bytes"] = f"the record says {peak:,} bytes, which cannot be"
        peak = None
    elif peak is not None and before is not None and peak < before:
        missing["peak_rss_bytes"] = (
            f"the record says {size(peak)}, less than the {size(before)} before the model was "
            "opened, which cannot be"
        )
        peak = None
    on_devices = memory.device_peak_bytes.items()
    return msgspec.structs.replace(
        memory,
        peak_rss_bytes=peak,
        import_rss_bytes=before,
        device_peak_bytes={name: n for name, n in on_devices if 0 <= n <= MOST_BYTES},
        forecast=_plausible_forecast(memory.forecast),
        missing=missing,
    )


def _plausible_forecast(foreseen: MemoryForecast | None) -> MemoryForecast | None:
    if foreseen is None:
        return None
    figures = (foreseen.peak_rss_bytes, *foreseen.device_peak_bytes.values())
    return foreseen if all(0 <= n <= MOST_BYTES for n in figures) else None


def forecast_text(foreseen: int | None, measured: int | None) -> str | None:
    """`277 MiB, 0.98 ×`, the ratio to what was measured; None without a forecast."""
    if foreseen is None:
        return None
    return f"{size(foreseen)}, {foreseen / measured:.2f}\u00a0×" if measured else size(foreseen)


def device_key(name: str) -> str:
    """One name per device: `cuda` is `cuda:0`."""
    return "cuda:0" if name == "cuda" else name


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
