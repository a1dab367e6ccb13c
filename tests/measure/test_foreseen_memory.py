"""The forecast in a record is that of the file which the trial read."""

import dataclasses
from pathlib import Path

from harness.config.load import load_study
from harness.machine import Accelerator, Machine
from harness.measure.conversion import Reading
from harness.measure.memory_record import forecast_of, memory_of
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


def foreseen_in(found, reading=None, workload="speed"):
    return memory_of((), forecast_of(found, reading), workload)


def test_it_is_of_the_converted_file_where_that_was_read(tmp_path):
    found = forecasts(tmp_path, "cpu fp32i8")
    converted = ConvertedFile(
        file="a.safetensors", source_sha256="0" * 64, plan="1", bytes=1, made_now=False
    )
    original = Reading(weights=Path("a.pth"), missing="the cache is off")
    of_original = foreseen_in(found, original).forecast
    of_converted = foreseen_in(found, dataclasses.replace(original, converted=converted)).forecast
    assert of_original == foreseen_in(found).forecast
    assert of_converted.load_rss_bytes < of_original.load_rss_bytes
    assert of_original.load_rss_bytes == found.as_given.host.load_bytes
    assert of_original.device_peak_bytes == {}


def test_loading_is_foreseen_apart_from_the_peak(tmp_path):
    found = forecasts(tmp_path, "cpu bf16")
    foreseen = foreseen_in(found).forecast
    assert foreseen.load_rss_bytes == found.as_given.host.load_bytes
    assert foreseen.peak_rss_bytes == found.as_given.host.peak_bytes
    assert foreseen.load_rss_bytes < foreseen.peak_rss_bytes  # feeding a prompt takes more


def test_devices_are_foreseen_apart(tmp_path):
    found = forecasts(tmp_path, "cuda fp16 *2 -> cpu fp32")
    foreseen = foreseen_in(found).forecast
    assert foreseen.device_peak_bytes == {"cuda:0": found.as_given.accelerators[0].peak_bytes}


def test_without_a_forecast_the_record_says_why():
    memory = foreseen_in(None)
    assert memory.forecast is None
    assert "torch engine" in memory.missing["forecast"]


def test_every_phase_has_its_own_forecast_also_where_the_trial_did_not_reach_it(tmp_path):
    found = forecasts(tmp_path, "cuda fp16 *2 -> cpu fp32")
    host, [device] = found.as_given.host, found.as_given.accelerators
    phases = {one.phase: one for one in foreseen_in(found).phases}
    assert list(phases) == ["load", "passes", "prefill", "decode"]
    assert {one.missing for one in phases.values()} == {"the trial did not come this far"}
    growth = {name: one.forecast.rss_growth_bytes for name, one in phases.items()}
    assert growth == {
        "load": host.load_bytes,
        "passes": host.prefill_bytes,
        "prefill": host.prefill_bytes,
        "decode": host.decode_bytes,
    }
    assert host.decode_bytes < host.prefill_bytes
    assert phases["load"].forecast.device_bytes == {"cuda:0": device.load_bytes}
    assert phases["decode"].forecast.device_bytes == {"cuda:0": device.decode_bytes}


def test_answers_have_phases_of_their_own_and_without_a_forecast_none_is_invented():
    phases = foreseen_in(None, workload="answers").phases
    assert [one.phase for one in phases] == ["load", "answering"]
    assert [one.forecast for one in phases] == [None, None]
