"""The engines a study may name.

Only names: an engine itself lives in `harness.engines`, which studies are read without.
"""

from __future__ import annotations

from harness.config.problem import listed, nearest

ENGINES = ("torch", "rwkv", "fake")
FAKE = "fake"
LATER = ("transformers", "rwkv.cpp", "numpy", "jax", "tensorflow", "onnx")


def wrong_engine(name: str) -> str | None:
    """What is wrong with the engine `name`, or None where it is known."""
    if name in ENGINES:
        return None
    allowed = f"Allowed: {listed(ENGINES)}."
    if name in LATER:
        return f"'{name}' is not in this release. {allowed}"
    return f"'{name}' is not an engine.{nearest(name, (*ENGINES, *LATER))} {allowed}"
