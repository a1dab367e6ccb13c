"""Which of a plan's devices this torch can see."""

from __future__ import annotations

import torch

from harness.errors import Unsupported
from harness.runtime.strategy import LayerPlan


def available_devices() -> tuple[str, ...]:
    """Device names as a strategy writes them."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return tuple(names)


def require_devices(plans: tuple[LayerPlan, ...]) -> None:
    """Raise `Unsupported` naming the devices there are, if a plan names another."""
    available = available_devices()
    for name in dict.fromkeys(plan.device for plan in plans):
        if (f"{name}:0" if name == "cuda" else name) not in available:
            raise Unsupported(
                f"no device '{name}' here; this torch ({torch.__version__}) sees: "
                f"{', '.join(available)}"
            )
