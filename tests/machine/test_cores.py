"""How many cores a process may keep busy."""

import os
from types import SimpleNamespace

import pytest

from harness.machine.cores import usable_cores


@pytest.mark.parametrize(
    ("cores", "quota", "affinity", "usable"),
    [
        (16, None, 32, 16),
        (16, 2.5, 32, 2),
        (16, 0.5, 32, 1),
        (16, 64.0, 32, 16),
        (16, None, 3, 3),
        (None, None, 3, None),
    ],
)
def test_the_least_of_what_is_there_and_allowed(cores, quota, affinity, usable, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(affinity)), raising=False)
    facts = {"cgroup_cpus": {"unavailable": "no limit is set"} if quota is None else quota}
    assert usable_cores(SimpleNamespace(cores=cores, facts=facts)) == usable


def test_a_system_without_affinities(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores(SimpleNamespace(cores=8, facts={})) == 8
