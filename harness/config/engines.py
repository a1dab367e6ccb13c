"""The engines a study may name, and the package each one needs.

Only names: an engine itself lives in `harness.engines`, without which studies are read and planned.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.config.problem import listed, nearest


class Needs(NamedTuple):
    """The package an engine imports, and the extra that brings it."""

    package: str
    extra: str


TORCH, RWKV, FAKE = "torch", "rwkv", "fake"
ENGINES: dict[str, Needs | None] = {
    TORCH: Needs("torch", "torch"),
    RWKV: Needs("rwkv", "peers"),
    FAKE: None,
}
LATER = ("transformers", "rwkv.cpp", "numpy", "jax", "tensorflow", "onnx")


def wrong_engine(name: str) -> str | None:
    """What is wrong with the engine `name`, or None where it is known."""
    if name in ENGINES:
        return None
    allowed = f"Allowed: {listed(ENGINES)}."
    if name in LATER:
        return f"'{name}' is not in this release. {allowed}"
    return f"'{name}' is not an engine.{nearest(name, (*ENGINES, *LATER))} {allowed}"
