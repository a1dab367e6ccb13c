"""A program for `test_killed_runs.py`: run a study, be killed, go on, and so on.

    python killing.py PLAN REPORT

PLAN is a file of JSON: `results`, `arguments` of `harness run`, `kills`, how many there shall be,
`workers`, whether trials run in processes of their own or here, where they can be killed as well,
and `moments`, each `[kind, n]`. As kind "line" the harness is killed with SIGKILL before the n-th
line of its own code in `measure/`, `records/` and `cli/run.py`; as "byte" when it has written n
bytes of records, in the midst of a line as it may be. A run that ends before its moment is followed
by another. Before each attempt the references in the cache are removed, so that it computes them.
Each attempt is a process forked from this one, which has imported what is slow; the last one is not
killed. REPORT gets a list of all attempts: its process, how it ended (negative: by which signal),
and how many whole records there were then; of the last one, how many lines of code it ran in all
and before its first record.
"""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

import harness.cli.main
import harness.cli.pull
import harness.cli.run
import harness.folders
import harness.machine
import harness.measure.bench
import harness.measure.schedule
import harness.plan.plan
from harness.records import store
from tests.cli.in_process import run_in_process

HARNESS = Path(harness.__file__).parent
TRACED = tuple(str(HARNESS / part) for part in ("measure/", "records/", "cli/run.py"))
write_all = store._write_all


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def trace(kill_before):
    """Count the lines of the harness in the returned list; kill before the given one."""
    count = [0]

    def line(_frame, event, _argument):
        if event == "line":
            count[0] += 1
            if count[0] == kill_before:
                kill()
        return line

    def call(frame, _event, _argument):
        return line if frame.f_code.co_filename.startswith(TRACED) else None

    sys.settrace(call)
    return count


def writer(kill_after, count, first):
    """In place of the store's: kill after so many bytes; note the lines before the first record."""
    left = kill_after

    def write(file, data):
        nonlocal left
        first.append(count[0])
        if left is not None and len(data) >= left:
            write_all(file, data[:left])
            kill()
        left = None if left is None else left - len(data)
        write_all(file, data)

    return write


def attempt(plan, moment, last):
    """Run in a process of its own, to be killed at the moment; its id and its end."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return pid, os.waitstatus_to_exitcode(status)
    for file in (harness.folders.cache_folder() / "references").glob("*.safetensors"):
        file.unlink()
    if not plan["workers"]:
        run_in_process(pytest.MonkeyPatch())
        os.getppid = os.getpid  # in whose service a model is opened
    kind, n = moment
    first = []
    count = trace(n if kind == "line" else None)
    store._write_all = writer(n if kind == "byte" else None, count, first)
    try:
        harness.cli.main.main(plan["arguments"])
    except SystemExit as stop:
        sys.settrace(None)
        if kind == "none":
            last.write_text(json.dumps({"lines": count[0], "first": first[0] if first else 0}))
        os._exit(stop.code)


def main():
    plan, report = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    last = report.with_suffix(".last")
    harness.cli.run._report = lambda *_, **__: None
    attempts = []
    moments = iter(plan["moments"])
    while True:
        is_last = sum(one["code"] < 0 for one in attempts) == plan["kills"]
        moment = ["none", 0] if is_last else next(moments)
        pid, code = attempt(plan, moment, last)
        files = Path(plan["results"]).glob("*/*/records.jsonl")
        records = sum(file.read_bytes().count(b"\n") for file in files)
        attempts.append({"pid": pid, "code": code, "records": records})
        if is_last:
            break
    attempts[-1].update(json.loads(last.read_text()))
    report.write_text(json.dumps(attempts))


if __name__ == "__main__":
    main()
