"""The words for number formats, and torch's."""

from __future__ import annotations

import torch

from harness.runtime.strategy import UINT8

TORCH_DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp64": torch.float64,
}
# mm8 weights are held as int8, shifted by 128 (see `matrices.py`), and still are mm8's uint8.
NAMES: dict[torch.dtype, str] = {
    **{dtype: name for name, dtype in TORCH_DTYPES.items()},
    torch.uint8: UINT8,
    torch.int8: UINT8,
}
