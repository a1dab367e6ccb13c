"""The memory of a strategy by phases: the largest of its trials, without figures that cannot be.

Knows records; which trials speak, and how a phase is shown, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from harness.records.phases import PHASES, Figure, PhaseForecast, PhaseMemory
from harness.records.record import Record

MOST_BYTES = 2**60  # 1 EiB: more than any process can have had
_OWN = "own_peak_rss_bytes"


class PhaseUse(Struct, frozen=True, kw_only=True):
    """One phase of one strategy."""

    phase: str  # a key of `PHASES`
    trials: int = 0  # in which it was read
    host: dict[str, Figure] = field(default_factory=dict)  # by its names in `HOST_FIGURES`
    devices: dict[str, dict[str, Figure]] = field(default_factory=dict)
    growth_bytes: int | None = None  # the worker's own peak beyond its imports
    import_rss_bytes: int | None = None  # the imports, of the trial that grew most
    forecast: PhaseForecast | None = None  # the largest of the trials
    missing: str | None = None  # why there is no figure at all

    def device_forecast(self, device: str) -> int | None:
        """Predicted bytes; the same device may be written `cuda` and `cuda:0`."""
        if self.forecast is None:
            return None
        return self.forecast.device_bytes.get("cuda:0" if device == "cuda" else device)


def phases_of(records: Iterable[Record]) -> tuple[PhaseUse, ...]:
    """All phases that these records have, in the order of a trial."""
    found: dict[str, list[tuple[Record, PhaseMemory]]] = {}
    for record in records:
        for phase in record.memory.phases:
            found.setdefault(phase.phase, []).append((record, phase))
    return tuple(_use(phase, found[phase]) for phase in PHASES if phase in found)


def _use(phase: str, trials: Sequence[tuple[Record, PhaseMemory]]) -> PhaseUse:
    read = [one for _, one in trials if one.missing is None]
    growths = sorted(
        (own - before, before)
        for record, one in trials
        if (own := _plausible(one.host.get(_OWN)).bytes) is not None
        and (before := record.memory.import_rss_bytes) is not None
        and 0 <= before <= own
    )
    return PhaseUse(
        phase=phase,
        trials=len(read),
        host=_largest([one.host for one in read]),
        devices={
            name: _largest([one.devices.get(name, {}) for one in read])
            for name in dict.fromkeys(name for one in read for name in one.devices)
        },
        growth_bytes=growths[-1][0] if growths else None,
        import_rss_bytes=growths[-1][1] if growths else None,
        forecast=_forecast([one.forecast for _, one in trials if one.forecast is not None]),
        missing=None if read else trials[0][1].missing,
    )


def _largest(trials: Sequence[dict[str, Figure]]) -> dict[str, Figure]:
    """Each figure from the trial where it is largest; missing only where no trial has it."""
    names = dict.fromkeys(name for figures in trials for name in figures)
    return {
        name: max(
            (_plausible(figures[name]) for figures in trials if name in figures),
            key=lambda figure: -1 if figure.bytes is None else figure.bytes,
        )
        for name in names
    }


def _plausible(figure: Figure | None) -> Figure:
    if figure is None:
        return Figure(missing="not recorded")
    if figure.bytes is None or 0 <= figure.bytes <= MOST_BYTES:
        return figure
    return Figure(missing=f"the record says {figure.bytes:,} bytes, which cannot be")


def _forecast(trials: Sequence[PhaseForecast]) -> PhaseForecast | None:
    good = [
        one
        for one in trials
        if all(0 <= n <= MOST_BYTES for n in (one.rss_growth_bytes, *one.device_bytes.values()))
    ]
    return max(good, key=lambda one: one.rss_growth_bytes, default=None)
