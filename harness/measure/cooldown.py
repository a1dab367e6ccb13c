"""Wait before a trial until the machine is as cool as it was, or as cool as the study asks.

In the parent, before the worker is started; the time does not count as the trial's. The heat is
read at the start and at the end of every trial also where nothing is waited for. Time passes
through a clock and a sleep that tests may replace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from harness.config.order_settings import Cooldown
from harness.machine.heat import CPU, HeatProbe, HeatReading
from harness.records.order import Cooling, Heat
from harness.records.record import Record

_LOOK_S = 1.0  # between two looks at the temperature
_NOT_ASKED = "the study asks for no cool-down"
_NOTHING_TOLD = "neither a temperature nor a clock limit is told here"

Say = Callable[[str], None]


@dataclass
class Cooler:
    """Waits for one run. `first` is the heat before the run's first trial; None: it is now."""

    settings: Cooldown | None = None
    read: Callable[[], HeatReading] = field(default_factory=lambda: HeatProbe().read)
    first: Heat | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait(self, say: Say = lambda _: None, *, gpus: Collection[str] | None = None) -> Cooling:
        """Wait as the study asks; `say` hears about once a second what is waited for.

        `gpus` are the CUDA devices that the trial uses: it does not wait for others. None: for all.
        Returns what the record keeps, without the heat at the trial's end.
        """
        reading = self.read()
        due = _heat(reading)
        if self.first is None:
            self.first = due
        cooling = Cooling(due=due, start=due, method=reading.method, missing=reading.missing)
        if self.settings is None:
            return _without_wait(cooling, _NOT_ASKED)
        target = _in_use(target_of(self.settings, self.first), gpus)
        cooling = structs.replace(
            cooling,
            rule=_rule(self.settings),
            max_wait_s=self.settings.max_wait_s,
            target=target,
        )
        if not _shared(due, target) and not _limits(due, target):
            return _without_wait(cooling, _NOTHING_TOLD)
        started = self.clock()
        now, waited = due, 0.0
        while not is_reached(now, target) and waited < self.settings.max_wait_s:
            say(_words(now, target))
            self.sleep(min(_LOOK_S, self.settings.max_wait_s - waited))
            now = _heat(self.read())
            waited = self.clock() - started
        return structs.replace(cooling, waited_s=waited, reached=is_reached(now, target), start=now)

    def after(self, cooling: Cooling) -> Cooling:
        """The same with the heat that the trial left behind."""
        return structs.replace(cooling, end=_heat(self.read()))


def first_heat(records: Sequence[Record]) -> Heat | None:
    """The heat before the first trial of a run that goes on; None where none was recorded."""
    found = (r.cooling.due for r in records if r.cooling is not None)
    return next((heat for heat in found if heat is not None), None)


def target_of(settings: Cooldown, first: Heat) -> Heat:
    """What is waited for, of everything that was told before the run's first trial."""
    if settings.below_c is not None:
        return Heat(celsius=dict.fromkeys(first.celsius, settings.below_c))
    above = settings.back_to_start_k or 0.0
    return Heat(
        celsius={name: value + above for name, value in first.celsius.items()},
        cpu_clock_limit_percent=first.cpu_clock_limit_percent,
    )


def _in_use(target: Heat, gpus: Collection[str] | None) -> Heat:
    """The target of the processor, and of the GPUs that the trial uses."""
    if gpus is None:
        return target
    names = {CPU, *gpus}
    kept = {name: value for name, value in target.celsius.items() if name in names}
    return structs.replace(target, celsius=kept)


def is_reached(now: Heat, target: Heat) -> bool:
    """Whether all that is told is as cool as the target, and the clock is held back no more."""
    cool = all(now.celsius[name] <= target.celsius[name] for name in _shared(now, target))
    return cool and all(got >= wanted for got, wanted in _limits(now, target))


def _shared(now: Heat, target: Heat) -> list[str]:
    return [name for name in target.celsius if name in now.celsius]


def _limits(now: Heat, target: Heat) -> list[tuple[float, float]]:
    got, wanted = now.cpu_clock_limit_percent, target.cpu_clock_limit_percent
    return [] if got is None or wanted is None else [(got, wanted)]


def _without_wait(cooling: Cooling, why: str) -> Cooling:
    return structs.replace(cooling, missing={**cooling.missing, "waited_s": why})


def _heat(reading: HeatReading) -> Heat:
    return Heat(celsius=reading.celsius, cpu_clock_limit_percent=reading.cpu_clock_limit_percent)


def _rule(settings: Cooldown) -> str:
    if settings.below_c is not None:
        return f"below_c: {settings.below_c:g}"
    return f"back_to_start_k: {settings.back_to_start_k:g}"


def _words(now: Heat, target: Heat) -> str:
    """Of what is furthest from its target: where it is, and where it is to be."""
    hot = max(
        _shared(now, target), key=lambda name: now.celsius[name] - target.celsius[name], default=""
    )
    if hot and now.celsius[hot] > target.celsius[hot]:
        return f"cooling down, {hot} {now.celsius[hot]:.0f} °C → {target.celsius[hot]:.0f} °C"
    got, wanted = now.cpu_clock_limit_percent, target.cpu_clock_limit_percent
    return f"cooling down, clock of the CPU limited to {got:.3g} % → {wanted:.3g} %"
