"""How many bytes a plan takes on each device, before anything is loaded.

Follows what the runtime allocates: `forecast_stored.py` says what a placed model holds,
`forecast_load.py` how high loading goes, `forecast_work.py` what computing needs beside it. On the
host, bytes beyond the interpreter and its imported libraries: they compare with the growth of the
resident memory since the imports. On an accelerator, what torch's allocator hands out; a CUDA
context (`CUDA_CONTEXT_BYTES`) comes on top.

Knows shapes and plans; no files, no machine, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.runtime.forecast_load import Source, loading_peaks
from harness.runtime.forecast_stored import (
    HOST,
    stored_parts,
    streaming_buffers,
    weight_bytes,
)
from harness.runtime.forecast_work import Pass, Phase, device_work
from harness.runtime.shape import ModelShape
from harness.runtime.strategy import UINT8, LayerPlan, device_key
from harness.runtime.tensor_info import ITEM_BYTES

__all__ = [
    "CUDA_CONTEXT_BYTES",
    "HOST",
    "Conditions",
    "DeviceForecast",
    "Forecast",
    "forecast",
    "weight_bytes",
]

MIB = 2**20
CHUNK_TOKENS = 256  # of a prompt, fed at a time (`model.py`)
# Beyond the forecast: what the driver and the loaded kernels take of a CUDA device for each
# process, between 0.3 and 0.6 GiB by GPU and release.
CUDA_CONTEXT_BYTES = 512 * MIB
# torch's own workspace for cuBLAS, from its allocator: 2 × 4 MiB + 8 × 16 KiB. (32 MiB on Hopper.)
CUBLAS_BYTES = 8 * MIB + 128 * 1024
# Pages of torch's libraries that are first touched, and so become resident, by an operation.
LOADING_PAGES = 7 * MIB  # reading, casting and copying
QUANTISING_PAGES = 4 * MIB  # minima, divisions and rounding
COMPUTING_PAGES = 7 * MIB  # products, norms and exponentials
BF16_PAGES = 6 * MIB  # oneDNN, which computes bf16 products and makes its kernels when asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What a forecast depends on beside shape and plan."""

    batch: int = 1
    chunk_tokens: int = CHUNK_TOKENS  # of the longest prompt, at most `CHUNK_TOKENS` at a time
    source: Source = "original"
    file_dtype: str = "bf16"  # of the tensors of an original file
    half_on_cpu: bool = True  # torch computes in half precision on the CPU; 2.0 does not


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceForecast:
    """Bytes on one device. `load`, `prefill` and `decode` are what comes on top in each phase."""

    device: str  # `cpu` is the host; `cuda` as `cuda:0`
    weights: int  # matrices, vectors, embedding; on the host also what is streamed from there
    scales: int  # the vectors of int8
    state: int  # of one sequence for each row of the batch
    load: Phase
    prefill: Phase
    decode: Phase

    @property
    def stored_bytes(self) -> int:
        """The placed model."""
        return self.weights + self.scales

    @property
    def load_bytes(self) -> int:
        """Peak while loading."""
        return self.stored_bytes + self.load.bytes

    @property
    def prefill_bytes(self) -> int:
        """Peak while a prompt is fed. Feeding makes a new state beside the one that is held."""
        return self.stored_bytes + 2 * self.state + self.prefill.bytes

    @property
    def decode_bytes(self) -> int:
        """Peak while token after token is fed."""
        return self.stored_bytes + 2 * self.state + self.decode.bytes

    @property
    def peak_bytes(self) -> int:
        """The largest of the three."""
        return max(self.load_bytes, self.prefill_bytes, self.decode_bytes)

    @property
    def workspace(self) -> int:
        """The most of any phase."""
        return max(self.load.workspace, self.prefill.workspace, self.decode.workspace)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """All devices of a plan, the host first."""

    devices: tuple[DeviceForecast, ...]

    @property
    def host(self) -> DeviceForecast:
        """Main memory."""
        return self.devices[0]

    @property
    def accelerators(self) -> tuple[DeviceForecast, ...]:
        """All but the host."""
        return self.devices[1:]

    def peak_bytes(self) -> dict[str, int]:
        """Peak per device."""
        return {one.device: one.peak_bytes for one in self.devices}


def forecast(
    shape: ModelShape, plans: tuple[LayerPlan, ...], conditions: Conditions | None = None
) -> Forecast:
    """What `plans` will take of each device that they use, and of the host."""
    given = Conditions() if conditions is None else conditions
    plans = tuple(replace(plan, device=device_key(plan.device)) for plan in plans)
    weights, scales = stored_parts(shape, plans)
    peaks = loading_peaks(shape, plans, source=given.source, file_dtype=given.file_dtype)
    pages = {HOST: _loading_pages(plans, given)}
    return Forecast(
        devices=tuple(
            DeviceForecast(
                device=device,
                weights=weights[device],
                scales=scales[device],
                state=_state_bytes(shape, plans, device, given.batch),
                load=Phase(
                    workspace=peaks[device]
                    - weights[device]
                    - scales[device]
                    + pages.get(device, 0)
                ),
                prefill=_computing(shape, plans, device, given.chunk_tokens, given),
                decode=_computing(shape, plans, device, 1, given),
            )
            for device in dict.fromkeys((HOST, *(plan.device for plan in plans)))
        )
    )


def _computing(
    shape: ModelShape, plans: tuple[LayerPlan, ...], device: str, tokens: int, given: Conditions
) -> Phase:
    """The slot of a device that takes most, and what stays there all the while."""
    one = Pass(batch=given.batch, tokens=tokens, half_on_cpu=given.half_on_cpu)
    here = [(index, plan) for index, plan in enumerate(plans) if plan.device == device]
    most = device_work(shape, here, one, on_host=device == HOST)
    if device != HOST:
        library = CUBLAS_BYTES if device.startswith("cuda") else 0
        stays = streaming_buffers(shape, plans).get(device, 0) + library
        return Phase(activations=most.activations, workspace=most.workspace + stays)
    embedded = one.rows * shape.n_embd * ITEM_BYTES[plans[0].dtype]
    pages = _loading_pages(plans, given) + (_computing_pages(plans) if here else 0)
    return Phase(activations=most.activations + embedded, workspace=most.workspace + pages)


def _loading_pages(plans: tuple[LayerPlan, ...], given: Conditions) -> int:
    quantised = any(plan.weight_dtype == UINT8 for plan in plans)
    return LOADING_PAGES + (QUANTISING_PAGES if quantised and given.source != "converted" else 0)


def _computing_pages(plans: tuple[LayerPlan, ...]) -> int:
    bf16 = any(plan.device == HOST and plan.weight_dtype == "bf16" for plan in plans)
    return COMPUTING_PAGES + (BF16_PAGES if bf16 else 0)


def _state_bytes(shape: ModelShape, plans: tuple[LayerPlan, ...], device: str, batch: int) -> int:
    """Per block, two last inputs in the activations' dtype, three WKV tensors in float32."""
    here = [plan for plan in plans[:-1] if plan.device == device]
    items = sum(2 * ITEM_BYTES[plan.dtype] + 3 * ITEM_BYTES["fp32"] for plan in here)
    return batch * shape.n_embd * items
