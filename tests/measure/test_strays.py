"""What a worker leaves behind is found and ended, and nobody else is."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from harness.measure.strays import MARK, Strays
from harness.measure.watchdog import tree
from tests.measure.test_worker_processes import wait_until_gone

STAY = "import signal; signal.alarm(60); signal.pause()"
# Starts a process that leaves its session, says which, and dies.
ORPHAN = """
import subprocess, sys
environment = {} if sys.argv[2] == "bare" else None
run = [sys.executable, "-S", "-c", sys.argv[1]]
silent = subprocess.DEVNULL
print(subprocess.Popen(run, start_new_session=True, stdout=silent, env=environment).pid)
"""


def start(code, *arguments, environment=None, own_session=True):
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code, *arguments],
        start_new_session=own_session,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to others")
@pytest.mark.parametrize("kind", ["bare", "plain"])
def test_an_orphan_in_a_session_of_its_own_is_found_on_linux(kind):
    strays = Strays()
    with strays.adopted():
        with start(ORPHAN, STAY, kind) as worker:
            orphan = int(worker.stdout.readline())
        assert worker.returncode == 0
        assert psutil.Process(orphan).ppid() == os.getpid()
        assert strays.end(worker.pid) == 1
    wait_until_gone(orphan)
    assert orphan not in tree(os.getpid())  # nor is it left dead and waited for by nobody


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to others")
def test_what_is_not_the_workers_is_left_alone():
    daemon = start(STAY)  # ours, in a session of its own, from before
    strays = Strays()
    with strays.adopted():
        helper = start(STAY, own_session=False)  # ours, begun by another thread meanwhile
        assert strays.end(group=0) == 0
    for one in (daemon, helper):
        assert one.poll() is None
        one.kill()
        one.communicate()


def test_elsewhere_a_word_in_the_environment_tells():
    strays, others = Strays("darwin"), Strays("darwin")
    mine = start(STAY, environment=strays.environment)
    theirs = start(STAY, environment=others.environment)
    with strays.adopted():
        assert MARK in strays.environment
        assert strays.end(group=0) == 1
    assert mine.wait() == -signal.SIGKILL
    assert theirs.poll() is None
    theirs.kill()
    for one in (mine, theirs):
        one.communicate()
