"""The forecast in a record is that of the file which the trial read."""

import dataclasses
from pathlib import Path

from harness.config.load import load_study
from harness.machine import Accelerator, Machine
from harness.measure.conversion import Reading
from harness.measure.trial import _foreseen, _memory
from harness.plan.look import look
from harness.plan.plan import plan
from harness.records.record import ConvertedFile

GIB = 2**30
MACHINE = Machine(
    label="fake",
    accelerators=(Accelerator(device="cuda:0", name="Fake GPU", memory_bytes=80 * GIB),),
    cores=8,
    ram_bytes=64 * GIB,
    facts={},
)


def forecasts(tmp_path, strategy):
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: s\nmodels: {{m: {{weights: 'random:169m'}}}}\nstrategies: ['{strategy}']\n"
        "workloads: {speed: {prompt_tokens: 64}}\n",
        encoding="utf-8",
    )
    loaded = load_study(path)
    [one] = plan(loaded, MACHINE, look(loaded)).cells
    return one.forecasts


def test_it_is_of_the_converted_file_where_that_was_read(tmp_path):
    found = forecasts(tmp_path, "cpu fp32i8")
    converted = ConvertedFile(
        file="a.safetensors", source_sha256="0" * 64, plan="1", bytes=1, made_now=False
    )
    original = Reading(weights=Path("a.pth"), missing="the cache is off")
    of_original = _foreseen(found, original)
    of_converted = _foreseen(found, dataclasses.replace(original, converted=converted))
    assert of_original == _foreseen(found, None)
    assert of_converted.load_rss_bytes < of_original.load_rss_bytes
    assert of_original.load_rss_bytes == found.as_given.host.load_bytes
    assert of_original.device_peak_bytes == {}


def test_loading_is_foreseen_apart_from_the_peak(tmp_path):
    found = forecasts(tmp_path, "cpu bf16")
    foreseen = _foreseen(found, None)
    assert foreseen.load_rss_bytes == found.as_given.host.load_bytes
    assert foreseen.peak_rss_bytes == found.as_given.host.peak_bytes
    assert foreseen.load_rss_bytes < foreseen.peak_rss_bytes  # feeding a prompt takes more


def test_devices_are_foreseen_apart(tmp_path):
    found = forecasts(tmp_path, "cuda fp16 *2 -> cpu fp32")
    foreseen = _foreseen(found, None)
    assert foreseen.device_peak_bytes == {"cuda:0": found.as_given.accelerators[0].peak_bytes}


def test_without_a_forecast_the_record_says_why():
    memory = _memory((), _foreseen(None, None))
    assert memory.forecast is None
    assert "torch engine" in memory.missing["forecast"]
