import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A plot is a file, also on a machine with a screen; the subprocesses of tests inherit it.
os.environ["MPLBACKEND"] = "agg"

# Workers of pytest-xdist share the cores; and no result may hang on how many there are.
os.environ["OMP_NUM_THREADS"] = "1"

# Tests neither see nor change the caches, settings and models of whoever runs them.
_HOME = tempfile.mkdtemp(prefix="rwkv-harness-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["HARNESS_CACHE"] = f"{_HOME}/cache"
os.environ["XDG_CONFIG_HOME"] = f"{_HOME}/config"
os.environ["HF_HOME"] = f"{_HOME}/hub"
os.environ.pop("HARNESS_MODELS", None)

# A background job of a shell ignores Ctrl-C, and so would the processes that tests start and stop.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure, and a failure must come back when it is run again.
settings.register_profile("harness", deadline=None, derandomize=True)
settings.load_profile("harness")


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
