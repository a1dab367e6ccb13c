"""The engines by the names that studies use, imported when they are asked for."""

from __future__ import annotations

import importlib

from harness.engines.base import Engine
from harness.errors import BadInput, MissingExtra

# name: (module, class, package it needs, extra that brings the package)
ENGINES: dict[str, tuple[str, str, str | None, str | None]] = {
    "torch": ("harness.engines.torch_engine", "TorchEngine", "torch", "torch"),
    "rwkv": ("harness.engines.rwkv_engine", "RwkvEngine", "rwkv", "peers"),
    "fake": ("harness.engines.fake", "FakeEngine", None, None),
}


def load_engine(name: str) -> Engine:
    """Import and make the engine; raises `BadInput` or `MissingExtra`."""
    if name not in ENGINES:
        raise BadInput(f"unknown engine '{name}'; allowed are {', '.join(ENGINES)}")
    module, cls, package, extra = ENGINES[name]
    try:
        engine: Engine = getattr(importlib.import_module(module), cls)()
    except ModuleNotFoundError as error:
        if package is not None and extra is not None and error.name == package:
            raise MissingExtra(package, extra) from error
        raise
    return engine
