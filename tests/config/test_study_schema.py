"""The JSON Schema that editors use."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from harness.cli.schema import command
from harness.config.engines import ENGINES
from harness.config.schema import editor_schema, editor_schema_text
from harness.config.study import Study, Workloads
from harness.engines import registry

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted(CONFIGS.glob("*.yaml"))


def valid(value):
    return jsonschema.Draft202012Validator(editor_schema()).is_valid(value)


def test_the_file_in_configs_is_current():
    written = (CONFIGS / "study.schema.json").read_text(encoding="utf-8")

    assert written == editor_schema_text(), "run: python -m harness schema"


def test_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(editor_schema())


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_shipped_studies_are_valid_and_point_to_it(path):
    text = path.read_text(encoding="utf-8")

    assert text.startswith("# yaml-language-server: $schema=study.schema.json\n")
    assert valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "change, allowed",
    [
        ({}, False),  # not a whole study
        ({"extends": "a.yaml"}, True),
        ({"extends": "a.yaml", "models": {"m": {"seed": 3}}}, True),
        ({"extends": "a.yaml", "workloads": {"answers": None}, "models": {"m": None}}, True),
        ({"extends": "a.yaml", "models": {"m": {"sed": 3}}}, False),
        ({"extends": "a.yaml", "threads": 0}, False),
        ({"extends": 3}, False),
    ],
)
def test_a_study_that_extends_may_be_a_part(change, allowed):
    assert valid(change) is allowed


def test_every_field_is_described():
    definitions = json.loads(editor_schema_text())["$defs"]
    self_explaining = {"Workloads", "WorkloadsPart", "Selector", "SelectorPart"}
    self_explaining |= {"Addition", "AdditionPart"}

    lacking = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        if name not in self_explaining
        for field, schema in definition["properties"].items()
        if "description" not in schema
    ]

    assert lacking == []


def test_command_writes_and_prints_the_schema(tmp_path):
    path = tmp_path / "s.json"

    written = CliRunner().invoke(command, ["-o", str(path)])
    printed = CliRunner().invoke(command, ["-o", "-"])

    assert written.exit_code == printed.exit_code == 0
    assert path.read_text(encoding="utf-8") == printed.output == editor_schema_text()


def test_names_known_to_studies_are_those_of_the_engines():
    assert {name: needs and tuple(needs) for name, needs in ENGINES.items()} == {
        name: package and (package, extra)
        for name, (_, _, package, extra) in registry.ENGINES.items()
    }


def test_workload_names_in_order():
    assert Workloads.__struct_fields__ == ("speed", "depth", "answers", "quality")
    assert "extends" not in Study.__struct_fields__
