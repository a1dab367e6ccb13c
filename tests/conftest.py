import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import settings

# A plot is a file, also on a machine with a screen; the subprocesses of tests inherit it.
os.environ["MPLBACKEND"] = "agg"

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


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none; torch is only asked when it matters."""
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu and not _has_cuda():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
