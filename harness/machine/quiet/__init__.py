"""What disturbs a measurement while it runs: small sources that are read beside a trial.

`Probes` knows which sources this operating system has; `Sampler` reads them around a stretch of
time and says what was seen, each figure by its name or with the reason why it is missing. Knows
nothing of trials, limits and records.
"""

from harness.machine.quiet.probes import Probes
from harness.machine.quiet.sampler import Sampler, Seen
from harness.machine.quiet.source import Source

__all__ = ["Probes", "Sampler", "Seen", "Source"]
