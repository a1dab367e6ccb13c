import atexit
import os
import shutil
import tempfile

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

# A slow machine is no failure, and a failure must come back when it is run again.
settings.register_profile("harness", deadline=None, derandomize=True)
settings.load_profile("harness")


def pytest_configure(config):
    # With `-n` the order stays ours; pytest-xdist >= 3.7 would begin with the files of most tests.
    config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config, items):
    _skip_without_gpu([item for item in items if item.get_closest_marker("gpu")])
    if os.environ.get("PYTEST_XDIST_WORKER"):
        _group(items)


def _skip_without_gpu(items):
    """Skip what needs a GPU where there is none; torch is only asked when it matters."""
    if items and not _has_cuda():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _group(items):
    """Each file to one worker, which makes its fixtures once; begin with the group `memory`.

    The tests of that group, one at a time, hold models of gigabytes. They also take longest.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args != ("memory",))


def _has_cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
