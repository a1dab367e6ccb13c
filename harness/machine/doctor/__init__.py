"""What on this machine will disturb a measurement, how badly, and the command that mends it.

`examine` judges the facts of the machine and what was seen of it for some seconds. Changes nothing,
needs no privilege, and runs none of the commands that it names.
"""

from harness.machine.doctor.examine import Examined, examine
from harness.machine.doctor.finding import Finding, Severity

__all__ = ["Examined", "Finding", "Severity", "examine"]
