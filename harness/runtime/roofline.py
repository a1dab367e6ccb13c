"""What a device can do at best, measured: how fast it reads memory, multiplies, and is copied to.

Uses the operations of the runtime itself (`ops.linear`, `Int8Matrix`, the copier of streamed
slots), and one that reads as fast as torch can: a sum. Knows devices and formats; nothing of models
or records. Time comes from a clock that a test can replace.

A figure is that of the fastest repetition, not of the median one: whatever disturbs a repetition
can only make it slower, so the fastest is nearest to what the device can do, and a limit that other
work has lowered would let trials seem to pass it. Trials themselves are never judged by their best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.errors import Unsupported
from harness.runtime import ops
from harness.runtime.copying import copier_for
from harness.runtime.devices import HOST, DeviceMap
from harness.runtime.dtypes import TORCH_DTYPES
from harness.runtime.limits import INT8, LimitQuestion, MeasuredLimit
from harness.runtime.matrices import DenseMatrix, Int8Matrix, Matrix
from harness.runtime.quantise import Mm8
from harness.runtime.tensor_info import ITEM_BYTES

REPEATS = 7
FEWEST_REPEATS = 3
ENOUGH_S = 0.4  # of one figure: a slow operation is not repeated more often than that takes
SLOW_S = 0.6  # an operation that takes longer is not repeated at all
SAMPLE_S = 0.005  # of one sample: shorter operations are repeated within it, and waited for once
COLUMNS = 1024  # inputs of the large matrix; its rows follow from the bytes
HOST_SIDE, DEVICE_SIDE = 1024, 8192  # of the square matrices
MOST_HOST_SIDE = 4096  # where that many threads make short work of smaller ones
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Measures one limit after another; holds one buffer at a time."""

    devices: DeviceMap
    clock: Callable[[], float] = time.perf_counter

    def measure(self, question: LimitQuestion) -> MeasuredLimit:
        """Answer one question. Raises `Unsupported`, or what torch raises where memory is short."""
        device = self.devices[question.device]
        with torch.inference_mode():
            if question.kind == "read":
                return self._read(device, question.n_bytes)
            if question.kind == "bus":
                return self._bus(device, question.n_bytes)
            if question.kind == "product":
                return self._product(device, _asked(question), question.n_bytes)
            return self._multiply(device, _asked(question), question.side)

    def _read(self, device: torch.device, n_bytes: int) -> MeasuredLimit:
        """A sum reads every byte once, and computes next to nothing."""
        buffer = torch.ones(n_bytes // 4, dtype=torch.float32, device=device)
        return self._bytes(
            buffer.sum, device, buffer.numel() * 4, f"sum of {_size(n_bytes)} of float32 numbers"
        )

    def _bus(self, device: torch.device, n_bytes: int) -> MeasuredLimit:
        """As streamed slots come: from page-locked memory where that can be had."""
        if device.type == HOST:
            raise Unsupported("nothing is copied to the host that lies there")
        copier = copier_for(device)
        host, target = copier.host_buffer(n_bytes), copier.device_buffer(n_bytes)
        host.fill_(1)

        def copy() -> None:
            copier.wait(copier.copy(target, host, copier.mark()))

        return self._bytes(copy, device, n_bytes, f"{_size(n_bytes)} {copier.how}")

    def _product(self, device: torch.device, dtype: str, n_bytes: int) -> MeasuredLimit:
        """One token through a matrix that no cache holds, by the runtime's own product."""
        name = dtype.removesuffix(INT8)
        x_dtype = TORCH_DTYPES[name]
        if dtype.endswith(INT8):
            matrix = _int8(n_bytes // COLUMNS, x_dtype, device)
        else:
            matrix = _dense(n_bytes // COLUMNS // ITEM_BYTES[name], x_dtype, device)
        x = torch.ones(1, COLUMNS, dtype=x_dtype, device=device)
        weight = matrix.weight
        return self._bytes(
            lambda: matrix(x),
            device,
            weight.numel() * weight.element_size(),
            f"one token times a matrix of {_size(n_bytes)}: {matrix.kernel(x_dtype)}",
        )

    def _multiply(self, device: torch.device, dtype: str, side: int | None) -> MeasuredLimit:
        n = side or (HOST_SIDE if device.type == HOST else DEVICE_SIDE)
        found = self._square(device, dtype, n)
        # Shared among many threads, small matrices leave each of them little but the sharing.
        may_grow = side is None and device.type == HOST
        while may_grow and n < MOST_HOST_SIDE and min(found.samples_s) <= SAMPLE_S:
            n *= 2
            found = max(found, self._square(device, dtype, n), key=lambda one: one.flop_per_s or 0)
        return found

    def _square(self, device: torch.device, dtype: str, n: int) -> MeasuredLimit:
        a = torch.ones(n, n, dtype=TORCH_DTYPES[dtype], device=device)
        b = torch.ones(n, n, dtype=TORCH_DTYPES[dtype], device=device)
        samples = self._time(lambda: ops.linear(a, b), device)
        return MeasuredLimit(
            flop_per_s=2 * n**3 / min(samples),
            method=f"product of two {n} × {n} matrices: {ops.arithmetic(a.dtype, device)}",
            samples_s=samples,
        )

    def _bytes(
        self, run: Callable[[], object], device: torch.device, n_bytes: int, method: str
    ) -> MeasuredLimit:
        samples = self._time(run, device)
        return MeasuredLimit(bytes_per_s=n_bytes / min(samples), method=method, samples_s=samples)

    def _time(self, run: Callable[[], object], device: torch.device) -> tuple[float, ...]:
        """Seconds of `run`, sample by sample, the device waited for on both sides."""
        run()  # pages are touched, kernels are loaded
        once = self._sample(run, device, 1)
        if once > SLOW_S:
            return (once,)
        n = max(1, math.ceil(SAMPLE_S / once)) if once > 0 else 1
        samples: list[float] = []
        while len(samples) < REPEATS:
            samples.append(self._sample(run, device, n))
            if len(samples) >= FEWEST_REPEATS and sum(samples) * n > ENOUGH_S:
                break
        if min(samples) <= 0:
            raise Unsupported("the clock stood still")
        return tuple(samples)

    def _sample(self, run: Callable[[], object], device: torch.device, n: int) -> float:
        _wait_for(device)
        start = self.clock()
        for _ in range(n):
            run()
        _wait_for(device)
        return (self.clock() - start) / n


def _dense(n_rows: int, dtype: torch.dtype, device: torch.device) -> Matrix:
    """Laid out as the runtime lays out what it loads (`DenseMatrix.placed`)."""
    if device.type == HOST and dtype == torch.float32:
        return DenseMatrix(torch.ones(COLUMNS, n_rows, dtype=dtype).t())
    return DenseMatrix(torch.ones(n_rows, COLUMNS, dtype=dtype, device=device))


def _int8(n_rows: int, x_dtype: torch.dtype, device: torch.device) -> Matrix:
    def ones(n: int) -> torch.Tensor:
        return torch.ones(n, dtype=x_dtype, device=device)

    q = torch.ones(n_rows, COLUMNS, dtype=torch.uint8, device=device)
    return Int8Matrix(Mm8(q, ones(n_rows), ones(n_rows), ones(COLUMNS), ones(COLUMNS)), device)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _asked(question: LimitQuestion) -> str:
    if question.dtype is None:
        raise Unsupported(f"a limit of the kind {question.kind} is that of a format: name one")
    return question.dtype


def _size(n_bytes: int) -> str:
    return f"{n_bytes / MIB:.0f} MiB"
