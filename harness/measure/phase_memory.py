"""Memory by phases: the machine's figures and the engine's, read at the end of each.

Everything is read between phases and nothing within them, so timing is not touched. Which phases a
trial has, and where they end, the worker says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
from msgspec import structs

from harness.engines.base import Session
from harness.engines.memory import Held, SessionMemory
from harness.machine.memory import MemoryReading
from harness.machine.memory_nvidia import nvidia_memory
from harness.machine.memory_phases import begin_host_phase, host_phase_memory
from harness.machine.switch import VARIABLE, probes_are_off
from harness.records.phases import Figure, PhaseMemory

Nvidia = Callable[[Sequence[str]], Mapping[str, Mapping[str, MemoryReading]]]

_MOST_STEPS = 4  # of decoding: the state does not grow, so further tokens take no more


class MemoryWatch:
    """Reads the memory of phases that follow one another. Begins one when it is made.

    `phases` are their names, in their order.
    """

    def __init__(self, phases: Sequence[str], nvidia: Nvidia = nvidia_memory) -> None:
        self._phases = list(phases)
        self._nvidia = nvidia
        self.device_peaks: dict[str, int] = {}  # so far: the most that each allocator handed out
        self._phase = begin_host_phase()
        self._session: Session | None = None

    def end(self, session: Session) -> PhaseMemory:
        """The figures of the phase that ends here; the next one begins."""
        session.synchronize()
        phase, held = self._phases.pop(0), session.memory()
        self._count(held)
        found = self._read(phase, held)
        session.restart_memory()
        self._session = session
        self._phase = begin_host_phase()
        return found

    def restart(self, session: Session) -> None:
        """Let the phase that is under way begin anew: what was before is not its own."""
        session.synchronize()
        self._count(session.memory())
        session.restart_memory()
        self._phase = begin_host_phase()

    def broken_off(self) -> list[PhaseMemory]:
        """The figures of the phase in which the trial failed, up to now; none after the last.

        What cannot be asked any more is left out: a device that failed may fail at anything, and
        where memory is short, so may we.
        """
        if not self._phases:
            return []
        held = SessionMemory()
        with suppress(Exception):
            if self._session is not None:
                held = self._session.memory()
                self._count(held)
        with suppress(Exception):
            return [structs.replace(self._read(self._phases[0], held), broken_off=True)]
        return []

    def _count(self, held: SessionMemory) -> None:
        for device, n_bytes in held.allocated_peaks().items():
            self.device_peaks[device] = max(n_bytes, self.device_peaks.get(device, 0))

    def _read(self, phase: str, held: SessionMemory) -> PhaseMemory:
        if probes_are_off():
            return PhaseMemory(phase=phase, missing=f"probes are switched off by {VARIABLE}")
        host = {name: _read(one) for name, one in host_phase_memory(self._phase).items()}
        driver = self._nvidia([name for name in held.devices if name.startswith("cuda")])
        return PhaseMemory(
            phase=phase,
            host={**host, "pinned_bytes": _held(held.pinned)},
            devices={
                device: _merged(figures, driver.get(device, {}))
                for device, figures in held.devices.items()
            },
        )


def prefill_and_decode_apart(
    session: Session, prompt_tokens: int, generate_tokens: int, batch: int, watch: MemoryWatch
) -> Iterator[PhaseMemory]:
    """Feed one prompt and a few tokens behind it, untimed, and read after either.

    A timed pass may not be interrupted between the two for a reading, so they are run once more.
    Which tokens they are is all the same to the memory.
    """
    _, state = session.prefill(np.zeros((batch, prompt_tokens), dtype=np.int64), None)
    yield watch.end(session)
    for _ in range(min(_MOST_STEPS, generate_tokens)):
        _, state = session.step(np.zeros(batch, dtype=np.int64), state)
    yield watch.end(session)


def _merged(engine: Mapping[str, Held], driver: Mapping[str, MemoryReading]) -> dict[str, Figure]:
    """The driver's figures where it has them, else the engine's for the same thing."""
    figures = {name: _read(one) for name, one in driver.items()}
    for name, one in engine.items():
        if name not in figures or figures[name].bytes is None:
            figures[name] = _held(one)
    return figures


def _read(reading: MemoryReading) -> Figure:
    return Figure(bytes=reading.bytes, method=reading.method, missing=reading.missing)


def _held(one: Held) -> Figure:
    return Figure(bytes=one.bytes, method=one.method, missing=one.missing)
