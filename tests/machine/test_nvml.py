"""NVML: how it is opened, and which of its GPUs CUDA shows under which number."""

import pytest

from harness.machine.facts import NotKnown
from harness.machine.nvml import Nvml, cuda_gpus, of_devices, open_nvml, opened_nvml
from tests.machine.fake_nvml import NVMLError, no_bindings, nvml

DRIVER = {"proc/driver/nvidia/version": "NVRM version: 535"}


def refuse(*_):
    raise NVMLError("Not Supported")


def counting(**changes):
    """Bindings, and how often they were opened and closed."""
    said = []
    bindings = nvml(
        nvmlInit=lambda: said.append("open"), nvmlShutdown=lambda: said.append("close"), **changes
    )
    return bindings, said


@pytest.mark.parametrize("there", [DRIVER, {"dev/dxg": ""}])
def test_for_a_few_questions_it_is_closed_again(there, make_root):
    bindings, said = counting()
    with opened_nvml(make_root(there), lambda: bindings) as opened:
        assert opened is bindings
        assert said == ["open"]
    assert said == ["open", "close"]


def test_what_it_refuses_is_not_known_and_it_is_closed_too(make_root):
    bindings, said = counting(nvmlDeviceGetCount=refuse)
    with (
        pytest.raises(NotKnown, match="NVML: Not Supported"),
        opened_nvml(make_root(DRIVER), lambda: bindings) as opened,
    ):
        opened.nvmlDeviceGetCount()
    assert said == ["open", "close"]


def test_why_it_cannot_be_opened(make_root, tmp_path):
    with pytest.raises(NotKnown, match="no NVIDIA driver is loaded"):
        open_nvml(tmp_path / "empty", lambda: pytest.fail("imported without a driver"))
    root = make_root(DRIVER)
    with pytest.raises(NotKnown, match="extra: cuda"):
        open_nvml(root, no_bindings)
    with pytest.raises(NotKnown, match="NVML: Not Supported"):
        open_nvml(root, lambda: nvml(nvmlInit=refuse))


def test_left_open_it_is_opened_once_and_fails_once(make_root):
    bindings, said = counting()
    kept = Nvml(make_root(DRIVER), lambda: bindings)
    assert said == []
    assert [kept.get() for _ in range(3)] == [bindings] * 3
    assert said == ["open"]
    tried = []
    broken = Nvml(make_root(DRIVER), lambda: tried.append(1) or nvml(nvmlInit=refuse))
    for _ in range(2):
        with pytest.raises(NotKnown, match="Not Supported"):
            broken.get()
    assert tried == [1]


@pytest.mark.parametrize(
    "visible, shown",
    [
        (None, {"cuda:0": 0, "cuda:1": 1, "cuda:2": 2}),
        ("2,0", {"cuda:0": 2, "cuda:1": 0}),
        ("GPU-b1", {"cuda:0": 1}),
        ("1,9,0", {"cuda:0": 1}),
        ("", {}),
        ("-1", {}),
    ],
)
def test_numbers_of_cuda(visible, shown):
    uuids = [b"GPU-a0", "GPU-b1", "GPU-c2"]  # older bindings return bytes
    three = nvml(nvmlDeviceGetCount=lambda: 3, nvmlDeviceGetUUID=lambda handle: uuids[handle])
    assert cuda_gpus(three, visible) == shown


def test_of_those_the_ones_in_use():
    found = {"cuda:0": 2, "cuda:1": 0}
    assert of_devices(found, None) == found
    assert of_devices(found, {"cuda:1"}) == {"cuda:1": 0}
    with pytest.raises(NotKnown, match="NVML does not know cuda:2"):
        of_devices(found, {"cuda:0", "cuda:2"})
