"""Whole runs of the fake engine in one process, by a clock of the test's own: nothing sleeps."""

from __future__ import annotations

from harness.measure import worker
from harness.measure.process import Ended
from harness.measure.references import References

TRIAL_S = 5.0  # what each trial takes
REFERENCE_S = 2.0  # and each computing of a reference


class Clock:
    """In place of `time`, and of its `monotonic`."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def run_in_process(monkeypatch) -> Clock:
    """Let trials and references run here, for seconds of the clock that is returned."""
    clock = Clock()

    def run_job(job, *, deadline_s, on_message=lambda _: None, **_):
        channel = _Channel(on_message)
        code = 0
        try:
            worker._work(job, channel, worker._Memory())
        except Exception as error:  # noqa: BLE001 - as the worker does
            channel.send(worker.describe(error))
            code = 1
        clock.now += TRIAL_S if job.reference is None else REFERENCE_S
        return Ended(
            messages=tuple(channel.sent),
            returncode=code,
            timed_out_s=None,
            oom_kills=0,
            log_tail="",
            deadline_s=deadline_s,
        )

    # All that takes time here: nothing is timed, and nobody asks what the machine says.
    monkeypatch.setattr("gc.collect", lambda: 0)
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    monkeypatch.setattr("harness.measure.trial.run_job", run_job)
    assert References.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(References.__init__.__kwdefaults__, "run", run_job)
    monkeypatch.setattr("harness.measure.trial.time", clock)
    monkeypatch.setattr("harness.cli.budget.clock", clock.monotonic)
    return clock


class _Channel:
    def __init__(self, on_message):
        self.sent = []
        self._on_message = on_message

    def send(self, message):
        self.sent.append(message)
        self._on_message(message)
