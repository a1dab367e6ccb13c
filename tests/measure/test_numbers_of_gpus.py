"""A worker numbers its GPUs as the plan, the memory figures and the watching do."""

import pytest

from harness.measure import process


@pytest.mark.parametrize("said, order", [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_gpus_are_numbered_along_the_bus_unless_somebody_says_otherwise(said, order, monkeypatch):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if said is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", said)
    assert process._environment(2)["CUDA_DEVICE_ORDER"] == order
