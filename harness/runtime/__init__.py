"""The RWKV-4 engine: strategies, checkpoints, weights, forward passes and states.

A library in its own right: knows nothing of benchmarks. `load_model` is loaded when it is first
used, so that the torch-free parts (`strategy`, `shape`, `checkpoint`, `forecast`) stay so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.runtime.model import Model, load_model

__all__ = ["Model", "load_model"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from harness.runtime import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
