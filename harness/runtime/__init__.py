"""The RWKV-4 engine: strategies, checkpoints, weights, conversion, forward passes and states.

A library in its own right: knows nothing of benchmarks. What needs torch is loaded when it is first
used, so that the torch-free parts (`strategy`, `shape`, `checkpoint`, `forecast`) stay so.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.errors import MissingExtra

if TYPE_CHECKING:
    from harness.runtime.convert import Conversion
    from harness.runtime.convert import convert as convert_model
    from harness.runtime.model import Model, load_model
    from harness.runtime.state import State
    from harness.runtime.state_files import load_state, save_state
    from harness.runtime.state_layouts import from_layout, to_layout
    from harness.runtime.synth_file import save_random

__all__ = [
    "Conversion",
    "Model",
    "State",
    "convert_model",
    "from_layout",
    "load_model",
    "load_state",
    "save_random",
    "save_state",
    "to_layout",
]

_HOMES = {
    "Conversion": ("convert", "Conversion"),
    "Model": ("model", "Model"),
    "State": ("state", "State"),
    "convert_model": ("convert", "convert"),
    "from_layout": ("state_layouts", "from_layout"),
    "load_model": ("model", "load_model"),
    "load_state": ("state_files", "load_state"),
    "save_random": ("synth_file", "save_random"),
    "save_state": ("state_files", "save_state"),
    "to_layout": ("state_layouts", "to_layout"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtra("torch", "torch") from error
        raise
