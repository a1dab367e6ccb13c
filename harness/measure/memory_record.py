"""The memory of a trial as its record has it: what was sent beside what was foreseen. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from harness.measure.conversion import Reading
from harness.measure.job import (
    WORKLOAD_PHASES,
    Failed,
    Finished,
    Imported,
    Message,
    Opened,
    PhaseEnded,
)
from harness.plan.cell import Forecasts
from harness.records.phases import PhaseForecast, PhaseMemory
from harness.records.record import Memory, MemoryForecast
from harness.runtime.forecast import DeviceForecast, Forecast

NOT_SO_FAR = "the trial did not come this far"
_NO_FORECAST = "memory is foreseen for the torch engine alone, and weights whose shape is known"


def memory_of(messages: Sequence[Message], foreseen: Forecast | None, workload: str) -> Memory:
    """The figures that the worker sent on its way, and why any is missing."""
    readings = {
        "import_rss_bytes": next((m for m in messages if isinstance(m, Imported)), None),
        "load_rss_bytes": next((m for m in messages if isinstance(m, Opened)), None),
        "peak_rss_bytes": next((m for m in messages if isinstance(m, Finished | Failed)), None),
    }
    figures: dict[str, int | None] = {}
    missing: dict[str, str] = {}
    for name, message in readings.items():
        figures[name] = None if message is None else message.peak_rss.bytes
        if message is None:
            missing[name] = NOT_SO_FAR
        elif message.peak_rss.missing is not None:
            missing[name] = message.peak_rss.missing
    last = next((m for m in messages if isinstance(m, Finished | Failed)), None)
    return Memory(
        **figures,
        device_peak_bytes={} if last is None else last.device_peak_bytes,
        phases=_phases(messages, foreseen, workload),
        forecast=None if foreseen is None else _whole(foreseen),
        missing=missing if foreseen is not None else {**missing, "forecast": _NO_FORECAST},
    )


def forecast_of(found: Forecasts | None, reading: Reading | None) -> Forecast | None:
    """The forecast for the file that was read, or would have been."""
    if found is None:
        return None
    is_converted = reading is not None and reading.converted is not None
    return found.converted if is_converted else found.as_given


def _whole(one: Forecast) -> MemoryForecast:
    return MemoryForecast(
        load_rss_bytes=one.host.load_bytes,
        peak_rss_bytes=one.host.peak_bytes,
        device_peak_bytes={each.device: each.peak_bytes for each in one.accelerators},
    )


def _phases(
    messages: Sequence[Message], foreseen: Forecast | None, workload: str
) -> list[PhaseMemory]:
    """Every phase of the workload; one that was not reached says so, beside its forecast."""
    sent: dict[str, PhaseMemory] = {}
    for message in messages:
        if isinstance(message, Opened | Failed):
            sent.update({one.phase: one for one in message.phases})
        elif isinstance(message, PhaseEnded):
            sent[message.memory.phase] = message.memory
    return [
        structs.replace(
            sent.get(phase, PhaseMemory(phase=phase, missing=NOT_SO_FAR)),
            forecast=None if foreseen is None else _phase(foreseen, phase),
        )
        for phase in WORKLOAD_PHASES.get(workload, ())
    ]


def _phase(foreseen: Forecast, phase: str) -> PhaseForecast:
    return PhaseForecast(
        rss_growth_bytes=_bytes(foreseen.host, phase),
        device_bytes={one.device: _bytes(one, phase) for one in foreseen.accelerators},
    )


def _bytes(one: DeviceForecast, phase: str) -> int:
    """Phases that feed prompts and decode take the larger of the two."""
    alone = {"load": one.load_bytes, "prefill": one.prefill_bytes, "decode": one.decode_bytes}
    return alone.get(phase, max(one.prefill_bytes, one.decode_bytes))
