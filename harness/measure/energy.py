"""Joules per token of a trial: windows around what is measured, and the machine at rest to compare.

The counters are the machine's (`machine/energy.py`); they are read by the worker, because only it
knows when a pass begins. The baseline is the parent's, once per invocation, before the first trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.engines.base import Session
from harness.machine.energy import EnergyReading, Meter, open_meter
from harness.measure.job import Message, Passed
from harness.records.energy import Energy, PassEnergy, Spent
from harness.runtime.strategy import device_key

IDLE_S = 3.0
_FIGURES = ("prefill_j_per_token", "decode_j_per_token")


@dataclass
class Windows:
    """Readings on the way of one pass: at its begin, behind the prompts, at its end."""

    meter: Meter
    _readings: list[EnergyReading] = field(default_factory=list)

    def mark(self) -> None:
        """Read all counters."""
        self._readings.append(self.meter.read())

    def taken(self) -> PassEnergy:
        """What was spent between the last three marks; they are forgotten."""
        begin, middle, end = self._readings
        self._readings = []
        return PassEnergy(
            methods=self.meter.methods,
            missing=dict(self.meter.missing),
            prefill=self._spent(begin, middle),
            decode=self._spent(middle, end),
        )

    def _spent(self, before: EnergyReading, after: EnergyReading) -> Spent:
        joules, missing = self.meter.between(before, after)
        return Spent(s=after.at_s - before.at_s, joules=joules, missing=missing)


def energy_windows(session: Session) -> Windows | None:
    """For the devices of a loaded model; None for one that says nothing of where it lies."""
    slots = session.effective_plan()
    if not slots:
        return None
    return Windows(open_meter({device_key(slot.device) for slot in slots}))


@dataclass
class Baseline:
    """What the machine takes while nobody measures, watched once."""

    open: Callable[[], Meter] = open_meter
    sleep: Callable[[float], None] = time.sleep
    seconds: float = IDLE_S
    watts: dict[str, float] | None = None  # None: not watched yet
    watched_s: float | None = None

    def watch(self, on_note: Callable[[str], None] = lambda _: None) -> None:
        """Watch the counters for some seconds; at once where there are none, or it was done."""
        if self.watts is not None:
            return
        self.watts = {}
        meter = self.open()
        if not meter.counters:
            return
        on_note("measuring what the idle machine takes …")
        before = meter.read()
        self.sleep(self.seconds)
        after = meter.read()
        self.watched_s = after.at_s - before.at_s
        if self.watched_s > 0:
            joules, _ = meter.between(before, after)
            self.watts = {name: j / self.watched_s for name, j in joules.items()}


def energy_of(messages: Iterable[Message], batch: int, idle: Baseline) -> Energy | None:
    """The energy of a trial's passes; None where it has none that a meter watched."""
    passes = [message for message in messages if isinstance(message, Passed)]
    watched = [one for one in passes if one.energy is not None]
    if not watched:
        return None
    metered = [one.energy for one in watched if one.energy is not None]
    methods, nothing = metered[0].methods, metered[0].missing
    if not methods:
        why = "; ".join(f"{name}: {text}" for name, text in nothing.items()) or "no counter"
        return Energy(missing=dict.fromkeys(_FIGURES, why))
    prefill = _Phase(
        [one.prefill for one in metered],
        batch * sum(each.tokens for one in watched for each in one.prefill),
        idle.watts or {},
    )
    decode = _Phase(
        [one.decode for one in metered],
        batch * sum(len(one.decode_s) for one in watched),
        idle.watts or {},
    )
    missing = {f"not counted: {name}": why for name, why in nothing.items()}
    for name, phase in (("prefill", prefill), ("decode", decode)):
        for figure, why in phase.missing().items():
            missing[f"{name}_{figure}"] = why
    return Energy(
        counters=methods,
        prefill_tokens=prefill.tokens,
        prefill_s=prefill.seconds,
        prefill_j=prefill.joules,
        prefill_j_per_token=prefill.per_token(),
        prefill_net_j_per_token=prefill.net_per_token(),
        decode_tokens=decode.tokens,
        decode_s=decode.seconds,
        decode_j=decode.joules,
        decode_j_per_token=decode.per_token(),
        decode_net_j_per_token=decode.net_per_token(),
        idle_w=dict(idle.watts or {}),
        idle_s=idle.watched_s,
        missing=missing,
    )


@dataclass(frozen=True)
class _Phase:
    """All windows of one phase. A counter that is silent in one of them has no figure."""

    windows: Sequence[Spent]
    tokens: int
    idle_w: dict[str, float]

    @property
    def seconds(self) -> float:
        """All windows together."""
        return sum(one.s for one in self.windows)

    @property
    def joules(self) -> dict[str, float]:
        """Counter -> joules of all windows."""
        silent = self._silent()
        names = {name for one in self.windows for name in one.joules} - set(silent)
        return {name: sum(one.joules[name] for one in self.windows) for name in sorted(names)}

    def per_token(self) -> float | None:
        """Of all counters; None where any is silent, for a part would look like the whole."""
        if self._silent() or not self.joules or not self.tokens:
            return None
        return sum(self.joules.values()) / self.tokens

    def net_per_token(self) -> float | None:
        """Less what the idle machine takes in that time; None where that would be more."""
        raw, idle = self.per_token(), self._idle_j()
        if raw is None or idle is None or idle > sum(self.joules.values()):
            return None
        return raw - idle / self.tokens

    def _idle_j(self) -> float | None:
        """What the idle machine takes in that time, by the same counters."""
        if not set(self.joules) <= set(self.idle_w):
            return None
        return sum(self.idle_w[name] for name in self.joules) * self.seconds

    def missing(self) -> dict[str, str]:
        """Why a figure is None."""
        if self.per_token() is None:
            said = [f"{name}: {why}" for name, why in self._silent().items()]
            why = "; ".join(said) or "nothing was counted"
            return {"j_per_token": why, "net_j_per_token": why}
        idle = self._idle_j()
        if idle is None:
            return {"net_j_per_token": "what the idle machine takes is not known"}
        if self.net_per_token() is None:
            why = f"the machine took {idle:.3g} J in that time when idle, more than in the window"
            return {"net_j_per_token": why}
        return {}

    def _silent(self) -> dict[str, str]:
        return {name: why for one in self.windows for name, why in one.missing.items()}
