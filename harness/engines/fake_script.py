"""The script of the `fake` engine: what happens when, and how each thing is done.

Knows the events of a script and the operating system that they need. Knows nothing of sessions,
logits or times: that is `fake.py`.

Every event is a mapping, or a list of several, with these keys beside its own:

    at: decode      # the kind of call it belongs to: open, prefill (one per question), decode,
                    # score (one per passage), or reference (one per 64 rows, and of no strategy)
    after: 3        # calls of that kind that go by before; by default none
    times: 1        # calls that it happens at; by default all from then on, for `memory`,
                    # `child` and `wait` one

and its own, by the name that it stands under:

    fail:   how:    # kill (SIGKILL), crash (SIGSEGV), exit, hang, out_of_memory_host and
                    # out_of_memory_device (the exceptions), not_a_number, unsupported, error
    memory: bytes: 300000000   # really allocated, every page written
            where: worker      # or child: in a process of its own, which is waited for
            for_s: 0.2         # real seconds until it is given back; by default at the end
    slow:   s: 700             # scripted seconds that the call takes longer …
            factor: 1.2        # … after what it takes was multiplied by this
    child:  mark: WORD         # a process that stays; the word is among its arguments
            leaves: session    # nothing (the default), group, session, or all: it is an orphan
                               # in a session of its own, with an empty environment
    wait:   file: pipe         # beside the script. A named pipe holds the call up until somebody
                               # has written to it and closed it, any other file does not
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import BadInput, Unsupported

_PAGE = 4096
_ONCE = ("memory", "child", "wait")
# Both end themselves, should nobody do it.
_ALLOCATE = (
    "import signal, sys, time; signal.alarm(120); n = int(sys.argv[1]); m = bytearray(n); "
    f"m[::{_PAGE}] = b'x' * len(range(0, n, {_PAGE})); time.sleep(float(sys.argv[2]))"
)
_STAY = "import signal; signal.alarm(120); signal.pause()"
_LEAVE_GROUP = (
    "import os, sys; os.setpgid(0, 0); os.write(1, b'x'); exec(sys.argv[1], {'sys': sys})"
)
_ORPHAN = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', *sys.argv[1:]], "
    "start_new_session=True, env={})"
)


class OutOfMemoryError(RuntimeError):
    """Stands for the error that torch raises when an accelerator is full."""


@dataclass(frozen=True)
class Script:
    """What a file says for one strategy."""

    values: dict[str, Any]

    def events(self, name: str, at: str, call: int) -> Iterator[dict[str, Any]]:
        """The events called `name` that are due at the `call`-th call (from 0) of kind `at`."""
        given = self.values.get(name, [])
        for event in [given] if isinstance(given, dict) else given:
            first = event.get("after", 0)
            times = event.get("times", 1 if name in _ONCE else None)
            if event["at"] == at and first <= call and (times is None or call < first + times):
                yield event


def read_script(path: Path, strategy: str | None) -> Script:
    """The script in a YAML file, as it is for `strategy`, or for none; raises `BadInput`."""
    try:
        script = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: not a script for the fake engine: {error}") from error
    if not isinstance(script, dict):
        raise BadInput(f"{path}: a script for the fake engine is a mapping")
    return Script({**script, **script.get("strategies", {}).get(strategy or "", {})})


def pace(script: Script, opened: int) -> float:
    """How many times as long everything takes, with `opened` lines in the log before this one."""
    if "log" not in script.values and {"slow_down", "scatter"} & script.values.keys():
        raise BadInput("a script for the fake engine needs log: for slow_down: and scatter:")
    slow = script.values.get("slow_down", {"to": 1.0, "over": 2})
    share = min(1.0, opened / max(1, slow["over"] - 1))
    scatter = script.values.get("scatter", 0.0)
    return float((1 + (slow["to"] - 1) * share) * math.exp(random.Random(opened).gauss(0, scatter)))


def fail(how: str) -> bool:
    """Fail in one of the scripted ways; True where that is logits that are not numbers."""
    if how == "not_a_number":
        return True
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(7)
    if how == "hang":
        threading.Event().wait()
    if how == "out_of_memory_host":
        raise MemoryError("scripted")
    if how == "out_of_memory_device":
        raise OutOfMemoryError("scripted")
    if how == "unsupported":
        raise Unsupported("scripted: this engine does not do that")
    raise RuntimeError("scripted error")


def allocate(event: dict[str, Any]) -> bytearray | None:
    """Take memory as scripted; what is to be held until the end is returned."""
    n, for_s = int(event["bytes"]), event.get("for_s")
    if event.get("where", "worker") == "child":
        subprocess.run(
            [sys.executable, "-S", "-c", _ALLOCATE, str(n), str(for_s or 0)], check=False
        )
        return None
    taken = bytearray(n)
    taken[::_PAGE] = b"x" * len(range(0, n, _PAGE))
    if for_s is None:
        return taken
    threading.Event().wait(for_s)
    return None


def wait_for(path: Path) -> None:
    """Read a file to its end, which a named pipe has when its writer has closed it."""
    with path.open("rb") as file:
        while file.read(1024):
            pass


def start_child(event: dict[str, Any]) -> None:
    """Start the process that stays, as scripted."""
    leaves = event.get("leaves", "nothing")
    run = [sys.executable, "-S", "-c"]
    stay = [_STAY, event["mark"]]
    if leaves == "all":
        subprocess.run([*run, _ORPHAN, *stay], check=True)
    elif leaves == "session":
        subprocess.Popen([*run, *stay], start_new_session=True)
    elif leaves == "group":
        # It says when it has left.
        child = subprocess.Popen([*run, _LEAVE_GROUP, *stay], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.read(1)
    else:
        subprocess.Popen([*run, *stay])
