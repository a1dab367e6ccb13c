"""Memory by phases: the machine's figures and the engine's, read at the end of each.

Everything is read between phases and nothing within them, so timing is not touched. Which phases a
trial has, and where they end, the worker says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.engines.base import Session
from harness.engines.memory import Held
from harness.machine.memory import MemoryReading
from harness.machine.memory_nvidia import nvidia_memory
from harness.machine.memory_phases import begin_host_phase, host_phase_memory
from harness.machine.switch import VARIABLE, probes_are_off
from harness.records.phases import Figure, PhaseMemory

Nvidia = Callable[[Sequence[str]], Mapping[str, Mapping[str, MemoryReading]]]

_MOST_STEPS = 4  # of decoding: the state does not grow, so further tokens take no more


class MemoryWatch:
    """Reads the memory of phases that follow one another. Begins one when it is made."""

    def __init__(self, nvidia: Nvidia = nvidia_memory) -> None:
        self._nvidia = nvidia
        self._peaks: dict[str, int] = {}
        self._phase = begin_host_phase()

    def end(self, phase: str, session: Session) -> PhaseMemory:
        """The figures of the phase that ends here, under its name; the next one begins."""
        session.synchronize()
        if probes_are_off():
            return PhaseMemory(phase=phase, missing=f"probes are switched off by {VARIABLE}")
        held = session.memory()
        for device, n_bytes in held.allocated_peaks().items():
            self._peaks[device] = max(n_bytes, self._peaks.get(device, 0))
        host = {name: _read(one) for name, one in host_phase_memory(self._phase).items()}
        driver = self._nvidia([name for name in held.devices if name.startswith("cuda")])
        found = PhaseMemory(
            phase=phase,
            host={**host, "pinned_bytes": _held(held.pinned)},
            devices={
                device: _merged(figures, driver.get(device, {}))
                for device, figures in held.devices.items()
            },
        )
        session.restart_memory()
        self._phase = begin_host_phase()
        return found

    def device_peaks(self, session: Session) -> dict[str, int]:
        """Of the whole trial: the most that each device's allocator handed out in any phase."""
        now = session.memory().allocated_peaks()
        return {
            device: max(now.get(device, 0), self._peaks.get(device, 0))
            for device in {**self._peaks, **now}
        }


def prefill_and_decode_apart(
    session: Session, prompt_tokens: int, generate_tokens: int, batch: int, watch: MemoryWatch
) -> list[PhaseMemory]:
    """Feed one prompt and a few tokens behind it, untimed, and read after either.

    A timed pass may not be interrupted between the two for a reading, so they are run once more.
    Which tokens they are is all the same to the memory.
    """
    _, state = session.prefill(np.zeros((batch, prompt_tokens), dtype=np.int64), None)
    fed = watch.end("prefill", session)
    for _ in range(min(_MOST_STEPS, generate_tokens)):
        _, state = session.step(np.zeros(batch, dtype=np.int64), state)
    return [fed, watch.end("decode", session)]


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
