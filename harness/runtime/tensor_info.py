"""Where one tensor lies in a weights file. Knows numbers only: no files, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp64": 8, "uint8": 1, "int8": 1, "int64": 8}


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """Where one tensor lies in its file."""

    dtype: str  # fp32, fp16, bf16, fp64, uint8, int8 or int64
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in items, as torch counts them
    offset: int  # of the first item, in bytes from the start of the file

    @property
    def span(self) -> int:
        """Items from the first to the last one, gaps of a strided view included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    @property
    def span_bytes(self) -> int:
        """Bytes to read for this tensor."""
        return self.span * ITEM_BYTES[self.dtype]

    @property
    def rows_lie_apart(self) -> bool:
        """Of a matrix: whether its rows follow one another, so that some can be read alone."""
        return self.stride[0] > (self.shape[1] - 1) * self.stride[1]

    def rows(self, start: int, stop: int) -> TensorInfo:
        """Where rows start..stop - 1 of a matrix lie."""
        return replace(
            self,
            shape=(stop - start, *self.shape[1:]),
            offset=self.offset + start * self.stride[0] * ITEM_BYTES[self.dtype],
        )


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in items, of a tensor whose rows lie one behind the other."""
    stride, step = [], 1
    for n in reversed(shape):
        stride.append(step)
        step *= n
    return tuple(reversed(stride))
