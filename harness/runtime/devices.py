"""From device names, as a strategy writes them, to torch's devices; and a log of what went where.

The map is injectable: a test maps every name to the CPU, runs any plan, and reads the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from harness.errors import Unsupported
from harness.runtime.dtypes import NAMES, TORCH_DTYPES
from harness.runtime.strategy import LayerPlan

HOST = "cpu"


class Placement(NamedTuple):
    """One tensor that was put on a device."""

    slot: int
    tensor: str  # a stored tensor's name, or `activations`
    device: str  # as the strategy names it
    dtype: str
    copied_from: str  # `file`, or the device it lay on before


class DeviceMap:
    """The devices that a model may use.

    `known` maps names to torch's devices; by default, those of this machine. With `log`, every
    placement is appended to it.
    """

    def __init__(
        self,
        known: Mapping[str, torch.device] | None = None,
        *,
        log: list[Placement] | None = None,
    ) -> None:
        self._known = devices_here() if known is None else dict(known)
        self._log = log

    def __getitem__(self, name: str) -> torch.device:
        try:
            return self._known[name]
        except KeyError:
            there = [known for known in self._known if known != "cuda"]  # that is cuda:0
            raise Unsupported(
                f"no device '{name}' here; this torch ({torch.__version__}) sees: "
                f"{', '.join(there)}"
            ) from None

    def require(self, plans: Iterable[LayerPlan]) -> None:
        """Raise `Unsupported` for a device that is not here, or that has not got a plan's dtype."""
        for name, dtype in dict.fromkeys((plan.device, plan.dtype) for plan in plans):
            self._try(name, dtype)

    def _try(self, name: str, dtype: str) -> None:
        try:
            torch.zeros(1, dtype=TORCH_DTYPES[dtype], device=self[name])
        except (TypeError, RuntimeError) as error:  # bf16 on an older macOS, for one
            raise Unsupported(f"{name} cannot hold {dtype} here: {error}") from error

    def put(
        self, tensor: torch.Tensor, plan: LayerPlan, slot: int, name: str, copied_from: str
    ) -> torch.Tensor:
        """`tensor` in its own dtype on the plan's device."""
        placed = tensor.to(self[plan.device])
        self.note(slot, name, plan.device, placed.dtype, copied_from)
        return placed

    def move(self, x: torch.Tensor, before: LayerPlan, plan: LayerPlan, slot: int) -> torch.Tensor:
        """Activations from one slot's device and dtype to the next one's."""
        if (before.device, before.dtype) == (plan.device, plan.dtype):
            return x
        self.note(slot, "activations", plan.device, plan.dtype, before.device)
        return x.to(device=self[plan.device], dtype=TORCH_DTYPES[plan.dtype])

    def note(
        self, slot: int, name: str, device: str, dtype: torch.dtype | str, copied_from: str
    ) -> None:
        """Append one line to the log, if there is one."""
        if self._log is not None:
            word = dtype if isinstance(dtype, str) else NAMES[dtype]
            self._log.append(Placement(slot, name, device, word, copied_from))


def devices_here() -> dict[str, torch.device]:
    """Every device name that this torch can serve; `cuda` is the first CUDA device."""
    here = {HOST: torch.device("cpu")}
    if torch.cuda.is_available():
        here["cuda"] = torch.device("cuda", 0)
        here |= {f"cuda:{i}": torch.device("cuda", i) for i in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        here["mps"] = torch.device("mps", 0)
    return here


def device_name(device: torch.device) -> str:
    """How a strategy names a tensor's device: `cuda:0`, `mps`, `cpu`."""
    return "mps" if device.type == "mps" else str(device)
