import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import Hub
from safetensors.numpy import save

from harness.runtime.shape import ModelShape, original_tensors

ROOT = Path(__file__).parents[2]
SHAPE = ModelShape(n_layer=2, n_embd=32, n_vocab=64, dim_ffn=128)


@pytest.fixture(scope="session")
def checkpoint():
    """The bytes of a small RWKV-4 checkpoint; `random` tells two apart."""

    def make(random=0, shape=SHAPE):
        generator = np.random.default_rng(random)
        tensors = {
            name: generator.standard_normal(size, np.float32).astype(np.float16)
            for name, size in original_tensors(shape).items()
        }
        return save(tensors)

    return make


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A place of its own for every cache, setting and model; we are in it."""
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HARNESS_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


@pytest.fixture
def settings(home):
    """Write models.yaml."""

    def write(text):
        path = home / "config/rwkv-harness/models.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def harness(home, hub):
    """Run a command as a user does, with the loopback hub as the hub."""
    pytest.importorskip("huggingface_hub")

    def start(*arguments, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, **environment},
        )

    def run(*arguments, code=0, **environment):
        process = start(*arguments, **environment)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == code, output + errors
        assert "Traceback" not in errors
        return subprocess.CompletedProcess(arguments, code, output, errors)

    run.start = start
    return run


class Heard:
    """A watch that keeps what it hears."""

    def __init__(self):
        self.begun, self.moves = [], []

    def begin(self, what, name, size):
        self.begun.append((what, name, size))

    def move(self, done, total):
        self.moves.append((done, total))


@pytest.fixture
def heard():
    return Heard()
