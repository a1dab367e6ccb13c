"""What is planned for a machine: cells, trials, reasons, bytes, warnings."""

import dataclasses

import pytest
from tokenizers import Tokenizer, models

from harness.errors import BadInput
from harness.plan.document import plan_document
from harness.plan.look import look
from harness.plan.matrix import cells
from harness.plan.plan import plan
from harness.runtime import convert_model
from harness.runtime.checkpoint import read_header
from harness.runtime.forecast import Conditions, forecast, weight_bytes
from harness.runtime.shape import RANDOM_SHAPES
from harness.runtime.strategy import resolve
from harness.sizes import size

GIB = 2**30
INSTALLED = frozenset({"torch", "rwkv"})


def plan_with(loaded, machine, packages=INSTALLED, **arguments):
    seen = dataclasses.replace(look(loaded), packages=packages)
    return plan(loaded, machine, seen, **arguments)


def reasons(planned, **wanted):
    """Skip reasons by strategy, of the cells that agree with `wanted`."""
    return {
        one.cell.strategy: one.skip_reason
        for one in planned.cells
        if all(getattr(one.cell, name) == value for name, value in wanted.items())
    }


def test_cells_are_the_matrix_in_order(load):
    loaded = load(
        ("strategies:\n", "threads: [1, 2]\nstrategies:\n"),
        ("exclude:\n", "exclude:\n  - {strategy: cuda fp16, threads: 2}\n"),
        (
            "exclude:",
            "include: [{model: tiny, strategy: cpu bf16, workload: speed, engine: rwkv}]\nexclude:",
        ),
    )

    ids = [cell.id for cell in cells(loaded.study)]

    assert len(ids) == len(set(ids)) == 2 * 5 * 2 + 5 * 2 - 3 + 1
    assert ids[:4] == [
        "tiny/torch/cpu fp32/1t/speed",
        "tiny/torch/cpu fp32/1t/answers",
        "tiny/torch/cpu fp32/2t/speed",
        "tiny/torch/cpu fp32/2t/answers",
    ]
    assert ids[-1] == "tiny/rwkv/cpu bf16/1t/speed"
    assert "tiny/torch/cuda fp16/1t/answers" in ids
    assert "tiny/torch/cuda fp16/2t/answers" not in ids


def test_speed_and_answers_have_several_trials(load, machine_with):
    planned = plan_with(load(), machine_with())

    assert {(one.cell.workload, one.trials) for one in planned.cells} == {
        ("speed", 3),
        ("answers", 2),
    }
    assert planned.n_trials == 2 * (3 + 2) + 2 * 3


def test_trials_of_the_option_are_of_speeds(load, machine_with):
    loaded = load(
        ("answers: {questions: questions.txt}", "answers: {questions: questions.txt, trials: 3}"),
        ("speed: {trials: 3}", "speed: {trials: 3}\n  quality: {}"),
        ("exclude:\n", "exclude:\n  - {model: made-up, workload: quality}\n"),
    )

    planned = plan_with(loaded, machine_with(), trials=9)

    assert {(one.cell.workload, one.trials) for one in planned.cells} == {
        ("speed", 9),
        ("answers", 3),
        ("quality", 1),
    }


def test_quality_wants_a_tokenizer(load, machine_with, study_folder):
    loaded = load(("speed: {trials: 3}", "speed: {trials: 3}\n  quality: {}"))
    whole = plan_with(loaded, machine_with())
    (study_folder / "tokenizer.json").unlink()

    without = plan_with(loaded, machine_with())

    assert reasons(whole, model="tiny", workload="quality")["cpu fp32"] is None
    assert reasons(without, model="tiny", workload="quality")["cpu fp32"] == (
        f"tokenizer missing: {study_folder / 'tokenizer.json'}"
    )
    assert "random:169m" in reasons(whole, model="made-up", workload="quality")["cpu fp32"]


def test_trials_and_workload_can_be_narrowed(load, machine_with):
    loaded = load()

    planned = plan_with(loaded, machine_with(), only="speed", trials=1)

    assert {(one.cell.workload, one.trials) for one in planned.cells} == {("speed", 1)}
    with pytest.raises(BadInput, match="no workload 'answers'; it has: speed"):
        plan_with(
            load(
                ("  answers: {questions: questions.txt}\n", ""),
                ("exclude:\n  - {model: made-up, workload: answers}\n", ""),
            ),
            machine_with(),
            only="answers",
        )


def test_without_cuda_the_devices_there_are_are_named(load, machine_with):
    planned = plan_with(load(), machine_with(mps=True))

    assert reasons(planned, model="tiny", workload="speed") == {
        "cpu fp32": None,
        "cpu fp32i8 *2 -> cpu fp32": None,
        "cuda fp16": "no device cuda here, only cpu, mps (Fake M9)",
        "cuda:1 fp16 *2 -> cpu fp32": "no device cuda:1 here, only cpu, mps (Fake M9)",
        "cuda fp16i8 *2+": "no device cuda here, only cpu, mps (Fake M9)",
    }


def test_with_cuda_only_the_device_that_is_not_there_is_skipped(load, machine_with):
    planned = plan_with(load(), machine_with(8 * GIB))

    assert reasons(planned, model="made-up") == {
        "cpu fp32": None,
        "cpu fp32i8 *2 -> cpu fp32": None,
        "cuda fp16": None,
        "cuda:1 fp16 *2 -> cpu fp32": "no device cuda:1 here, only cpu, cuda:0 (Fake GPU)",
        "cuda fp16i8 *2+": None,
    }


def test_the_official_package_may_use_cuda(load, machine_with):
    loaded = load(("strategies:\n", "engines: [rwkv]\nstrategies:\n"))

    planned = plan_with(loaded, machine_with(8 * GIB, 8 * GIB))

    assert set(reasons(planned, model="tiny").values()) == {None}
    assert set(reasons(planned, model="made-up").values()) == {
        "the rwkv engine reads files only, not random weights"
    }


@pytest.mark.parametrize("engine, extra", [("rwkv", "peers"), ("torch", "torch")])
def test_an_engine_that_is_not_installed_names_its_extra(engine, extra, load, machine_with):
    loaded = load(("strategies:\n", f"engines: [{engine}]\nstrategies:\n"))

    planned = plan_with(loaded, machine_with(), packages=INSTALLED - {engine})

    reason = reasons(planned, model="tiny", workload="speed")["cpu fp32"]
    assert reason == f"{engine} is not installed: pip install 'rwkv-harness[{extra}]'"


def test_missing_tokenizer_stops_answers_only(load, machine_with, study_folder):
    loaded = load()
    (study_folder / "tokenizer.json").unlink()

    planned = plan_with(loaded, machine_with())

    assert reasons(planned, model="tiny", workload="speed")["cpu fp32"] is None
    assert reasons(planned, model="tiny", workload="answers")["cpu fp32"] == (
        f"tokenizer missing: {study_folder / 'tokenizer.json'}"
    )


def test_a_tokenizer_of_another_model_stops_answers_and_quality(load, machine_with, study_folder):
    words = {str(n): n for n in range(65)}  # one more than the model knows
    Tokenizer(models.WordLevel(words, unk_token="0")).save(str(study_folder / "tokenizer.json"))
    loaded = load(("speed: {trials: 3}", "speed: {trials: 3}\n  quality: {}"))

    planned = plan_with(loaded, machine_with())

    assert reasons(planned, model="tiny", workload="speed")["cpu fp32"] is None
    for workload in ("answers", "quality"):
        why = reasons(planned, model="tiny", workload=workload)["cpu fp32"]
        assert "has 65 tokens and the model 64: they do not belong together" in why


@pytest.mark.parametrize("content", ["<!DOCTYPE html>", "{}", None])
def test_what_is_no_tokenizer_stops_answers_only(content, load, machine_with, study_folder):
    loaded = load()
    path = study_folder / "tokenizer.json"
    path.unlink()
    path.mkdir() if content is None else path.write_text(content, encoding="utf-8")

    planned = plan_with(loaded, machine_with())

    assert reasons(planned, model="tiny", workload="speed")["cpu fp32"] is None
    reason = reasons(planned, model="tiny", workload="answers")["cpu fp32"]
    assert str(path) in reason
    assert "tokenizers" in reason


def test_only_what_is_planned_is_missing(load, machine_with, study_folder):
    loaded = load(
        (
            "  made-up:",
            "  asked: {weights: asked.pth, tokenizer: tokenizer.json}\n  made-up:",
        ),
        ("exclude:\n", "exclude:\n  - {model: asked, workload: speed}\n"),
    )
    (study_folder / "tokenizer.json").unlink()
    (study_folder / "tiny.safetensors").unlink()

    def missing(only):
        files = plan_with(loaded, machine_with(), only=only).missing
        return {(file.path.name, file.models) for file in files}

    assert missing("speed") == {("tiny.safetensors", ("tiny",))}
    assert (
        missing("answers")
        == missing(None)
        == {
            ("tiny.safetensors", ("tiny",)),
            ("tokenizer.json", ("tiny", "asked")),
            ("asked.pth", ("asked",)),
        }
    )


def test_what_the_official_package_does_not_do_is_said_early(load, machine_with):
    loaded = load(
        ("strategies:\n", "engines: [torch, rwkv]\nstrategies:\n  - cpu fp32 *0 -> cpu fp32\n"),
        ("{trials: 3}", "{trials: 3, batch: 4}"),
    )

    planned = plan_with(loaded, machine_with(8 * GIB, 8 * GIB))

    assert set(reasons(planned, engine="torch").values()) == {None}
    answers = reasons(planned, engine="rwkv", model="tiny", workload="answers")
    assert [name for name, reason in answers.items() if reason] == ["cpu fp32 *0 -> cpu fp32"]
    assert "'*0'" in answers["cpu fp32 *0 -> cpu fp32"]
    speed = reasons(planned, engine="rwkv", model="tiny", workload="speed")
    assert all("one row at a time, not a batch of 4" in reason for reason in speed.values())


def test_all_reasons_are_given(load, machine_with, study_folder):
    loaded = load()
    (study_folder / "tiny.safetensors").unlink()

    planned = plan_with(loaded, machine_with())

    (cell,) = [
        one
        for one in planned.cells
        if (one.cell.model, one.cell.strategy, one.cell.workload) == ("tiny", "cuda fp16", "speed")
    ]
    assert cell.skip_reasons == (
        f"weights missing: {study_folder / 'tiny.safetensors'}",
        "no device cuda here, only cpu",
    )
    assert cell.weight_bytes == {}


def test_weights_that_are_no_checkpoint_say_what_they_are(load, machine_with, study_folder):
    loaded = load()
    (study_folder / "tiny.safetensors").write_text("<!doctype html>", encoding="utf-8")

    planned = plan_with(loaded, machine_with())

    assert "web page" in str(reasons(planned, model="tiny")["cpu fp32"])
    assert reasons(planned, model="made-up")["cpu fp32"] is None


def test_the_fake_engine_takes_a_script_for_weights(load, machine_with, study_folder):
    loaded = load(("strategies:\n", "engines: [fake]\nstrategies:\n"))
    (study_folder / "tiny.safetensors").write_text("vocab: 5\n", encoding="utf-8")

    planned = plan_with(loaded, machine_with(), packages=frozenset())

    assert set(reasons(planned, model="tiny").values()) == {None}
    assert {one.weight_bytes == {} for one in planned.cells} == {True}


def test_bytes_are_those_of_the_resolved_plan(load, machine_with):
    planned = plan_with(load(), machine_with())

    shape = RANDOM_SHAPES["169m"]
    got = {one.cell.strategy: one.weight_bytes for one in planned.cells if one.cell.model != "tiny"}
    assert got == {
        strategy: weight_bytes(shape, resolve(strategy, shape.n_layer)) for strategy in got
    }
    assert set(got["cuda:1 fp16 *2 -> cpu fp32"]) == {"cpu", "cuda:1"}
    # Every parameter but ln0 (folded away) once, in 4 bytes.
    assert got["cpu fp32"] == {"cpu": 4 * (shape.n_params - 2 * shape.n_embd)}


def test_stretched_and_dropped_stages_give_a_warning(load, machine_with):
    loaded = load(("  - cuda fp16\n", "  - cpu fp32 *2\n  - cpu bf16 *9 -> cuda fp16\n"))

    planned = plan_with(loaded, machine_with())

    warned = {
        one.cell.strategy: one.warnings
        for one in planned.cells
        if one.cell.model == "tiny" and one.warnings
    }
    assert set(warned) == {"cpu fp32 *2", "cpu bf16 *9 -> cuda fp16"}
    assert "slots 0-3 cpu fp32" in warned["cpu fp32 *2"][0]


def test_what_cannot_fit_is_skipped_with_the_figures(load, machine_with):
    loaded = load(("strategies:\n", "threads: 6\nstrategies:\n"), ("169m", "14b"))

    planned = plan_with(loaded, machine_with(8 * GIB, cores=4, ram_bytes=16 * GIB))

    warned = {one.cell.strategy: one.warnings for one in planned.cells if one.cell.model != "tiny"}
    assert all("6 threads on 4 cores" in warnings for warnings in warned.values())
    skipped = reasons(planned, model="made-up")
    shape = RANDOM_SHAPES["14b"]
    for strategy, device, has in (("cpu fp32", "cpu", 16), ("cuda fp16", "cuda:0", 8)):
        given = Conditions(chunk_tokens=128, source="converted")
        found = forecast(shape, resolve(strategy, shape.n_layer), given).peak_bytes()[device]
        assert f"needs {size(found)} on {device}, which has {size(has * GIB)}" in skipped[strategy]
        assert "python -m harness fit random:14b" in skipped[strategy]
    assert skipped["cuda fp16i8 *2+"] is None  # streamed, it fits both
    assert "tight" not in str([warned[strategy] for strategy in warned if skipped[strategy]])
    assert all(
        reason is None or "GiB" not in reason for reason in reasons(planned, model="tiny").values()
    )


def test_the_command_that_finds_a_plan_has_the_batch(load, machine_with):
    loaded = load(("169m", "14b"), ("{trials: 3}", "{trials: 3, batch: 3}"))
    planned = plan_with(loaded, machine_with(8 * GIB, ram_bytes=16 * GIB))
    assert "fit random:14b --batch 3 names" in reasons(planned, model="made-up")["cpu fp32"]


def test_what_fits_but_for_what_comes_on_top_gives_a_warning(load, machine_with):
    loaded = load(("169m", "3b"))
    shape = RANDOM_SHAPES["3b"]
    given = Conditions(chunk_tokens=128, source="converted")
    peak = forecast(shape, resolve("cuda fp16", shape.n_layer), given).peak_bytes()["cuda:0"]

    for spare, is_tight in ((0, True), (2 * GIB, False)):
        planned = plan_with(loaded, machine_with(peak + spare, ram_bytes=64 * GIB))
        assert reasons(planned, model="made-up")["cuda fp16"] is None
        [one] = [
            one
            for one in planned.cells
            if (one.cell.model, one.cell.strategy) == ("made-up", "cuda fp16")
        ]
        assert any("tight" in text and "context" in text for text in one.warnings) == is_tight


def test_only_our_own_engine_has_a_forecast(load, machine_with):
    loaded = load(("strategies:\n", "engines: [torch, rwkv]\nstrategies:\n"))

    planned = plan_with(loaded, machine_with(8 * GIB))

    for one in planned.cells:
        assert (one.forecasts is not None) == (one.cell.engine == "torch")
    for entry, one in zip(plan_document(planned)["cells"], planned.cells, strict=True):
        if one.forecasts is None:
            assert entry["forecast_bytes"] == entry["forecast_phases_bytes"] == {}
        else:
            assert entry["forecast_bytes"] == one.forecasts.as_given.peak_bytes()
            assert min(entry["forecast_bytes"].values()) > 0
            host = one.forecasts.as_given.host
            assert entry["forecast_phases_bytes"]["cpu"] == {
                "load": host.load_bytes,
                "prefill": host.prefill_bytes,
                "decode": host.decode_bytes,
            }


def test_the_forecast_is_that_of_the_studys_lengths_and_files(load, machine_with, study_folder):
    loaded = load(
        ("{trials: 3}", "{trials: 3, batch: 4, prompt_tokens: [64, 1000]}"),
        ("  - cuda fp16\n", "  - cpu fp16\n"),
    )
    seen = dataclasses.replace(look(loaded), packages=INSTALLED, half_on_cpu=True)

    def forecasts(seen):
        planned = plan(loaded, machine_with(8 * GIB, 8 * GIB), seen)
        return {
            (one.cell.model, one.cell.strategy, one.cell.workload): one.forecasts
            for one in planned.cells
        }

    found = forecasts(seen)
    speed = Conditions(batch=4, chunk_tokens=256)
    for (model, strategy, workload), one in found.items():
        shape = seen.shapes[model]
        given = speed if workload == "speed" else Conditions()
        source = {"source": "random"} if model == "made-up" else {"file_dtype": "fp16"}
        for got, how in ((one.as_given, source), (one.converted, {"source": "converted"})):
            expected = forecast(
                shape, resolve(strategy, shape.n_layer), dataclasses.replace(given, **how)
            )
            assert got == expected, (model, strategy, workload, how)
    without_half = forecasts(dataclasses.replace(seen, half_on_cpu=False))
    grown = {key[1] for key, one in found.items() if one != without_half[key]}
    assert grown == {"cpu fp16"}


def test_an_unknown_machine_gives_no_warning(load, machine_with):
    loaded = load(("strategies:\n", "threads: 600\nstrategies:\n"), ("169m", "14b"))

    planned = plan_with(loaded, machine_with(cores=None, ram_bytes=None))

    assert reasons(planned, model="made-up")["cpu fp32"] is None
    assert all(one.warnings == () for one in planned.cells)


def test_plan_is_pure(load, machine_with):
    loaded, machine = load(), machine_with(8 * GIB)
    seen = look(loaded)

    assert plan(loaded, machine, seen) == plan(loaded, machine, seen) == plan(loaded, machine)


def test_document_has_every_cell_and_trial(load, machine_with):
    planned = plan_with(load(), machine_with())

    document = plan_document(planned)

    assert [entry["cell"]["id"] for entry in document["cells"]] == [
        one.cell.id for one in planned.cells
    ]
    assert len(document["order"]) == planned.n_trials
    assert document["cells"][0]["skip_reason"] is None


def test_a_converted_file_runs_the_strategies_it_was_made_for(load, machine_with, study_folder):
    mixed = "cpu fp32i8 *2 -> cpu fp32"
    convert_model(study_folder / "tiny.safetensors", study_folder / "mixed.safetensors", mixed)
    planned = plan(
        load(("weights: tiny.safetensors", "weights: mixed.safetensors")), machine_with()
    )
    why = {one.cell.strategy: one.skip_reason for one in planned.cells if one.cell.model == "tiny"}
    [own] = {
        one.forecasts
        for one in planned.cells
        if (one.cell.model, one.cell.strategy, one.cell.workload) == ("tiny", mixed, "speed")
    }
    assert own.as_given == own.converted
    assert why[mixed] is None
    assert "slots 0-1 hold fp32i8, not fp32" in why["cpu fp32"]
    assert "harness convert --in" in why["cpu fp32"]


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_that_do_not_say_what_they_were_made_from_have_no_quality(
    suffix, load, machine_with, study_folder
):
    convert_model(
        study_folder / "tiny.safetensors",
        study_folder / f"own.{suffix}",
        "cpu fp32",
        form=suffix,
        source_sha256="ab" * 32,
    )
    loaded = load(
        ("weights: tiny.safetensors", f"weights: own.{suffix}"),
        ("speed: {trials: 3}", "speed: {trials: 3}\n  quality: {}"),
    )
    planned = plan(loaded, machine_with())
    for workload in ("speed", "answers"):
        assert reasons(planned, model="tiny", workload=workload)["cpu fp32"] is None
    why = reasons(planned, model="tiny", workload="quality")["cpu fp32"]
    if suffix == "safetensors":
        assert why is None
    else:
        assert "does not say which weights it was made from" in why
        assert "use the original, or convert that to a .safetensors" in why


def test_a_cell_says_to_how_many_bytes_its_weights_are_converted(load, machine_with, study_folder):
    loaded = load(("name: planned\n", "name: planned\nengines: [torch, rwkv]\n"))
    planned = plan_with(loaded, machine_with(8 * GIB), only="speed")
    entries = plan_document(planned)["cells"]
    found = {
        (one["cell"]["model"], one["cell"]["engine"], one["cell"]["strategy"]): one[
            "converted_bytes"
        ]
        for one in entries
    }
    assert {value for (_, engine, _), value in found.items() if engine == "rwkv"} == {None}
    tiny = {
        strategy: value
        for (model, engine, strategy), value in found.items()
        if (model, engine) == ("tiny", "torch")
    }
    assert tiny["cpu fp32"] is None  # larger than the file, in fp16, and only cast
    assert tiny["cuda fp16"] is None  # as the file is
    for strategy in ("cpu fp32i8 *2 -> cpu fp32", "cuda fp16i8 *2+"):
        made = convert_model(study_folder / "tiny.safetensors", study_folder / "x", strategy)
        tensors = read_header(made.path).tensors.values()
        assert tiny[strategy] == sum(info.span_bytes for info in tensors)
    assert found["made-up", "torch", "cuda fp16"] > 300 * 2**20  # it would be made anew each time


def test_cells_that_read_the_same_converted_file_name_the_same_plan(load, machine_with):
    loaded = load(("  - cpu fp32\n", "  - cpu fp16i8\n  - cuda fp16i8 *1+\n"))
    planned = plan_with(loaded, machine_with(8 * GIB), only="speed")
    plans = {
        one.cell.strategy: one.converted.plan
        for one in planned.cells
        if one.cell.model == "tiny" and one.converted is not None
    }
    assert plans["cpu fp16i8"] == plans["cuda fp16i8 *1+"] == plans["cuda fp16i8 *2+"]
    assert plans["cpu fp16i8"] != plans["cpu fp32i8 *2 -> cpu fp32"]
