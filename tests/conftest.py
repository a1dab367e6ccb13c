import atexit
import os
import shutil
import signal
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A plot is a file, also on a machine with a screen; the subprocesses of tests inherit it.
os.environ["MPLBACKEND"] = "agg"

# Workers of pytest-xdist share the cores; and no result may hang on how many there are.
os.environ["OMP_NUM_THREADS"] = "1"

# Tests neither see nor change the caches, settings and models of whoever runs them.
_HOME = tempfile.mkdtemp(prefix="rwkv-harness-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["HARNESS_CACHE"] = f"{_HOME}/cache"
os.environ["HARNESS_CACHE_BUDGET"] = "2GiB"  # and no result may hang on how full the disk is
os.environ["XDG_CONFIG_HOME"] = f"{_HOME}/config"
os.environ["HF_HOME"] = f"{_HOME}/hub"
os.environ.pop("HARNESS_MODELS", None)
os.environ.pop("RWKV_HARNESS_COMMAND", None)  # as `nix run .#test` sets it

# HARNESS_TESTS=build: the tests that show in a minute that a build works, as where Nix builds the
# package: no network, no home, no git, an empty environment. What is listed here is left out, each
# group with its reason. The names are patterns of paths in this folder; no other file is left out.
_TESTS = os.environ.get("HARNESS_TESTS", "")
_ALLOWED = ("", "build")
_LEFT_OUT_OF_A_BUILD = {
    "a builder that finds nix would build, and so test, without end": ["nix"],
    "they are about the checkout, not about what is built from it": [
        "test_*.py",
        "quickstart/test_corpus.py",
        "quickstart/test_training.py",
    ],
    "they need a server, which a builder may forbid also on loopback": [
        "sources/test_downloads.py",
        "sources/test_pull_command.py",
        "sources/test_pull_settings.py",
    ],
    "they go through every case, at length, of what another file shows": [
        "cli/test_cache_command.py",
        "cli/test_continuing.py",
        "cli/test_killed_runs.py",
        "cli/test_latency_flow.py",
        "cli/test_noisy_runs.py",
        "cli/test_outcomes.py",
        "cli/test_probes_off.py",
        "cli/test_run_command.py",
        "cli/test_stopped_references.py",
        "cli/test_until.py",
        "report/test_report_order.py",
        "report/test_report_pages.py",
        "report/test_report_plots.py",
        "runtime/test_device_map.py",
        "runtime/test_fit.py",
        "runtime/test_official_converted.py",
        "stats/test_intervals.py",
    ],
    "they hold gigabytes": ["*memory*"],
}

# A background job of a shell ignores Ctrl-C, and so would the processes that tests start and stop.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure, and a failure must come back when it is run again.
settings.register_profile(
    "harness",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("harness")


def pytest_configure():
    if _TESTS not in _ALLOWED:
        raise pytest.UsageError(
            f"HARNESS_TESTS={_TESTS}: not a set of tests. `build` names those that show that a "
            "build works; unset it to run all"
        )


def pytest_report_header():
    if _TESTS != "build":
        return []
    said = [f"  {reason}: {', '.join(files)}" for reason, files in _LEFT_OUT_OF_A_BUILD.items()]
    return ["HARNESS_TESTS=build: left out are some tests, because", *said]


def pytest_ignore_collect(collection_path):
    """Neither collect nor import what is left out; None lets pytest decide about the others."""
    if _TESTS == "build" and _is_left_out_of_a_build(collection_path):
        return True
    return None


def _is_left_out_of_a_build(path):
    here = Path(__file__).parent
    if here not in path.parents:
        return False
    inner = path.relative_to(here)
    names = [name for files in _LEFT_OUT_OF_A_BUILD.values() for name in files]
    parts = [part.as_posix() for part in (inner, *inner.parents)]
    return any(fnmatchcase(part, name) for part in parts for name in names)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `-n`, each file goes to one process, and all whose names say `memory` go to the same.

    So fixtures of a file are made once, and one test at a time holds models of gigabytes. (Marks of
    `xdist_group` would say it in the tests, but pytest 9.2 and pytest-xdist 3.8 ignore them.)
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "memory" if _is_of_memory(file) else file

    config.option.loadscopereorder = False  # from 3.7 on, files of many tests would come first
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    _skip_without_gpu([item for item in items if item.get_closest_marker("gpu")])
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not _is_of_memory(item.path))  # they take longest


def _is_of_memory(file):
    return "memory" in Path(file).name


def _skip_without_gpu(items):
    """Skip what needs a GPU where there is none; torch is only asked when it matters."""
    if items and not _has_cuda():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
