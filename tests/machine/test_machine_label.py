import re

import pytest

from harness.machine.label import machine_label, ram_class_gib, slug

FACTS = {
    "arch": "x86_64",
    "cpu_model": "AMD Ryzen 9 5950X 16-Core Processor",
    "cpu_cores": 16,
    "cpu_threads": 32,
    "ram_bytes": 65806832 * 1024,
    "kernel": "Linux 6.5.0",
}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz", "intel-xeon-e5-2670-v3"),
        ("AMD Ryzen 7 5700G with Radeon Graphics", "amd-ryzen-7-5700g"),
        ("NVIDIA GeForce RTX 3090", "rtx-3090"),
        ("Apple M2 Pro", "apple-m2-pro"),
        ("../..", "unknown"),
    ],
)
def test_slug(name, expected):
    assert slug(name) == expected


def test_a_label_names_cpu_and_gpus():
    label = machine_label(FACTS, ["NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"])
    assert re.fullmatch(r"amd-ryzen-9-5950x-2x-h100-80gb-hbm3-[0-9a-f]{6}", label)


def test_another_system_on_the_same_hardware_has_the_same_label():
    updated = FACTS | {"kernel": "Linux 6.9.1", "ram_bytes": FACTS["ram_bytes"] - 200 * 2**20}
    assert machine_label(updated, []) == machine_label(FACTS, [])


@pytest.mark.parametrize(
    "change", [{"cpu_cores": 8}, {"cpu_threads": 16}, {"ram_bytes": 32 * 2**30}, {"arch": "arm64"}]
)
def test_other_hardware_has_another_label(change):
    assert machine_label(FACTS | change, []) != machine_label(FACTS, [])
    assert machine_label(FACTS, ["NVIDIA A10"]) != machine_label(FACTS, [])


def test_nothing_known_still_has_a_label():
    assert re.fullmatch(r"unknown-[0-9a-f]{6}", machine_label({}, []))


@pytest.mark.parametrize("installed", [2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024])
@pytest.mark.parametrize("kept", [0.005, 0.015, 0.025])
def test_ram_class_is_the_installed_memory(installed, kept):
    assert ram_class_gib(int(installed * 2**30 * (1 - kept))) == installed
