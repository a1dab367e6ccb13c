"""Memory in each phase of a trial: what was measured, by which method, beside what was predicted.

Every figure says how it was come by, because machines differ in what they tell; one that is missing
says why. `FIGURES` defines each once, for the record, the report and the documentation alike. Knows
neither how a figure is read nor how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct, field

# In the order in which a trial goes through them.
PHASES: dict[str, str] = {
    "load": "from after the imports until the model is loaded",
    "passes": "all passes of the speed workload, the first one and the warm-up included",
    "prefill": "one more prompt of the longest length, fed after all that is timed",
    "decode": "a few more tokens behind it; what allocators kept of the prompt is still there",
    "depth": "the whole depth workload",
    "answering": "the tokenizer and the whole question set",
}


class Figure(Struct, frozen=True, kw_only=True):
    """Bytes with the method, or the reason why there are none: exactly one of the two."""

    bytes: int | None = None
    method: str | None = None
    missing: str | None = None


class PhaseForecast(Struct, frozen=True, kw_only=True):
    """What was predicted of a phase.

    On the host, growth beyond the imports: it compares with `own_peak_rss_bytes` minus the record's
    `import_rss_bytes`. On a device, what compares with `allocated_peak_bytes`.
    """

    rss_growth_bytes: int
    device_bytes: dict[str, int] = field(default_factory=dict)


class PhaseMemory(Struct, frozen=True, kw_only=True):
    """One phase: figures by their names in `FIGURES`; a device's by its name, `cuda:0` or `mps`."""

    phase: str  # a key of `PHASES`
    host: dict[str, Figure] = field(default_factory=dict)
    devices: dict[str, dict[str, Figure]] = field(default_factory=dict)
    forecast: PhaseForecast | None = None
    missing: str | None = None  # why there is no figure at all
    broken_off: bool = False  # the trial failed in it: figures up to then


@dataclass(frozen=True)
class Definition:
    """What a figure is. All of them are bytes."""

    title: str  # of a column
    says: str


HOST_FIGURES: dict[str, Definition] = {
    "peak_rss_bytes": Definition(
        "RSS with children",
        "the high-water marks of the resident memory of the worker and of the processes that it "
        "started, added up; each may have been reached at another moment",
    ),
    "own_peak_rss_bytes": Definition(
        "RSS",
        "high-water mark of the worker's own resident memory, with Python, the libraries and the "
        "pages of files that it has mapped",
    ),
    "children_peak_rss_bytes": Definition(
        "RSS of children",
        "high-water marks of the processes that the worker started: of those that live at the "
        "phase's end, and of the largest that ended in it",
    ),
    "pss_bytes": Definition(
        "PSS",
        "proportional set size of worker and children at the phase's end: a page that n processes "
        "share counts as one n-th",
    ),
    "footprint_bytes": Definition(
        "Footprint",
        "what macOS charges the worker for at the phase's end, compressed pages included",
    ),
    "pinned_bytes": Definition(
        "Page-locked",
        "host memory that is locked so that a device can copy from it: the buffers of streamed "
        "slots, and what torch's host allocator has taken",
    ),
}
DEVICE_FIGURES: dict[str, Definition] = {
    "allocated_peak_bytes": Definition(
        "Allocated",
        "the most that torch's allocator had handed out to tensors at once; neither what it keeps "
        "in reserve nor the context",
    ),
    "reserved_peak_bytes": Definition(
        "Reserved",
        "the most that torch's allocator had taken from the device at once, handed out or kept",
    ),
    "process_bytes": Definition(
        "Process",
        "what the driver says that the worker holds at the phase's end: reserved memory, the "
        "context, and what libraries take for themselves",
    ),
    "device_used_bytes": Definition(
        "Device",
        "what is in use on the whole device at the phase's end, by whichever process",
    ),
}
FIGURES: dict[str, Definition] = {**HOST_FIGURES, **DEVICE_FIGURES}
