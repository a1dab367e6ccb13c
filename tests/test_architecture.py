"""The rules of layering, and the habits a machine can check. DESIGN in words: CONTRIBUTING.md."""

import ast
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "harness").rglob("*.py"))
}
MAX_LINES = 350

# What the modules of each package may import of the others. A new package needs a place here.
MAY_IMPORT = {
    "errors": set(),
    "folders": set(),
    "invocation": set(),
    "sizes": set(),
    "stats": set(),
    "machine": {"errors", "sizes"},
    "runtime": {"errors"},
    "language": {"errors"},
    "quickstart": {"errors", "language", "runtime"},
    "texts": {"quickstart"},
    "sources": {"errors", "folders", "invocation", "quickstart", "runtime", "sizes"},
    "config": {"errors", "language", "quickstart", "runtime", "sources", "texts"},
    "records": {"config", "errors"},
    "quality": {"errors", "language", "records", "stats"},
    "plan": {
        *{"config", "errors", "folders", "invocation", "language", "machine"},
        *{"quickstart", "records", "runtime", "sizes", "sources"},
    },
    "engines": {"errors", "runtime"},
    "measure": {
        *{"config", "engines", "errors", "folders", "language", "machine"},
        *{"plan", "quality", "records", "runtime", "sizes", "sources", "stats", "texts"},
    },
    "report": {"config", "errors", "invocation", "machine", "quality", "records", "stats"},
    "cli": {
        *{"config", "engines", "errors", "folders", "invocation", "language", "machine"},
        *{"measure", "plan", "quickstart", "records", "report", "runtime", "sizes", "sources"},
        *{"stats"},
    },
    "__main__": {"cli"},
}

# Packages whose modules may need torch, and those modules of theirs that never do.
HEAVY = ("harness.engines.", "harness.runtime.")
LIGHT = {
    "harness.engines.base",
    "harness.engines.fake",
    "harness.engines.fake_model",
    "harness.engines.fake_script",
    "harness.engines.memory",
    "harness.engines.registry",
    "harness.runtime",
    "harness.runtime.checkpoint",
    "harness.runtime.converted",
    "harness.runtime.effective",
    "harness.runtime.allocator",
    "harness.runtime.fit",
    "harness.runtime.forecast",
    "harness.runtime.forecast_load",
    "harness.runtime.forecast_stored",
    "harness.runtime.forecast_work",
    "harness.runtime.limits",
    "harness.runtime.output_file",
    "harness.runtime.passage",
    "harness.runtime.pth",
    "harness.runtime.shape",
    "harness.runtime.stored",
    "harness.runtime.strategy",
    "harness.runtime.strategy_grammar",
    "harness.runtime.tensor_info",
    "harness.runtime.traffic",
}
# Trains the shipped model: imports torch, but only when it is called.
TRAINER = "harness.quickstart.train"

WITHOUT_TORCH = sorted(name for name in MODULES if not name.startswith(HEAVY)) + sorted(
    LIGHT - {"harness.runtime"}
)


def parse(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name):
    """Full names of all that a module imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def called(name):
    """Plain names that a module calls."""
    calls = [node.func for node in ast.walk(parse(name)) if isinstance(node, ast.Call)]
    return {call.id for call in calls if isinstance(call, ast.Name)}


def package(name):
    """`harness.plan.cell` -> `plan`; the harness itself, its version, belongs to no package."""
    return [*name.split("."), ""][1]


def in_fresh_python(code):
    """Run code in an interpreter of its own, in the checkout, where importing torch fails."""
    blocked = f"import sys; sys.modules['torch'] = None; sys.path.insert(0, {str(ROOT)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_layers(name):
    me = package(name)
    used = {package(other) for other in imports(name) if other in MODULES} - {"", me}
    allowed = MAY_IMPORT[me] if me else set()
    assert used <= allowed, f"{name} may not import {sorted(used - allowed)}"


def test_every_package_has_its_place():
    assert {package(name) for name in MODULES} - {""} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", [n for n in WITHOUT_TORCH if n != TRAINER])
def test_no_torch_even_inside_functions(name):
    heavy = {other for other in imports(name) if other in MODULES and other.startswith(HEAVY)}
    assert "torch" not in {other.split(".")[0] for other in imports(name)}
    # `runtime` and the registry of engines name their heavy modules, and load them on demand.
    if name not in LIGHT:
        assert heavy <= LIGHT, f"{name} reaches torch through {sorted(heavy - LIGHT)}"


def test_all_but_engines_and_runtime_imports_without_torch():
    lines = [f"import {name}" for name in WITHOUT_TORCH if name != "harness.__main__"]
    in_fresh_python("\n".join(lines))


def test_the_frame_of_the_command_line_imports_nothing_heavy():
    packages = ("config", "language", "machine", "plan", "quality", "records")
    light = [name for name in MODULES if package(name) in packages]
    lines = [f"import {name}" for name in ["harness.cli.main", *light]]
    lines += ["print({'matplotlib', 'pandas', 'scipy'} & set(sys.modules))"]
    assert in_fresh_python("\n".join(lines)) == "set()\n"


def test_every_module_says_what_it_is_for():
    trees = {name: parse(name) for name in MODULES}
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_no_module_is_long():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_only_the_command_line_prints():
    silent = [name for name in MODULES if package(name) != "cli"]
    assert [name for name in silent if "print" in called(name)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.help
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert f"harness {name}" in (ROOT / "README.md").read_text(encoding="utf-8")
