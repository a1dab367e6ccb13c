"""What the flake offers on which system: all of it evaluates, and what must not does not."""

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

try:
    import tomllib
except ImportError:
    import tomli as tomllib  # pytest brings it on Python 3.10

ROOT = Path(__file__).parents[2]
SYSTEMS = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"]
CUDA = "x86_64-linux"

EVERYWHERE = {
    "packages": ["bench", "default", "rwkv-harness"],
    "apps": ["bench", "default", "rwkv-harness", "test"],
    "devShells": ["default"],
    "checks": ["bench", "devShell", "rwkv-harness", "test-app", "tests"],
}
WITH_CUDA = {
    "packages": ["bench-cuda", "rwkv-harness-cuda"],
    "apps": ["bench-cuda", "rwkv-harness-cuda"],
    "devShells": ["cuda"],
}


def wanted(output):
    return {
        system: sorted(EVERYWHERE[output] + (WITH_CUDA.get(output, []) if system == CUDA else []))
        for system in SYSTEMS
    }


@pytest.mark.parametrize("output", ["packages", "devShells", "checks"])
def test_every_derivation_of_every_system_evaluates(nix, output):
    apply = "builtins.mapAttrs (_: builtins.mapAttrs (_: d: d.drvPath))"
    derivations = nix.evaluate(f".#{output}", apply)
    assert {system: sorted(names) for system, names in derivations.items()} == wanted(output)
    assert all(path.endswith(".drv") for names in derivations.values() for path in names.values())


def test_every_app_of_every_system_names_a_program_of_the_store(nix):
    apps = nix.evaluate(".#apps")
    assert {system: sorted(names) for system, names in apps.items()} == wanted("apps")
    for app in (app for names in apps.values() for app in names.values()):
        assert re.fullmatch(rf"{nix.store}/[^/]+/bin/[a-z-]+", app["program"])
        assert app["meta"]["description"]


def test_without_a_word_the_benchmark_is_run(nix):
    apps = nix.evaluate(".#apps")
    assert all(names["default"] == names["bench"] for names in apps.values())


def test_the_default_package_is_the_command_line(nix):
    apply = "builtins.mapAttrs (_: p: p.default.drvPath == p.rwkv-harness.drvPath)"
    assert nix.evaluate(".#packages", apply) == dict.fromkeys(SYSTEMS, True)


def show(nix):
    """All systems, which releases since 2.15 show only when asked for; 2.8 knows no such word."""
    asked = nix.attempt("flake", "show", "--all-systems", "--json", ".")
    if "unrecognised flag" in asked.stderr:
        return nix("flake", "show", "--json", ".")
    assert asked.returncode == 0, asked.stderr
    return asked.stdout


def test_flake_show_lists_them(nix):
    shown = json.loads(show(nix))
    for output in EVERYWHERE:
        listed = {system: sorted(names) for system, names in shown[output].items()}
        assert listed == wanted(output)
    assert sorted(shown["formatter"]) == SYSTEMS
    assert shown["overlays"]["default"]["type"] == "nixpkgs-overlay"


@pytest.mark.parametrize("name", ["rwkv-harness", "bench", "tests"])
def test_packages_say_what_they_are(nix, name):
    output = "checks" if name == "tests" else "packages"
    meta = nix.evaluate(f".#{output}.aarch64-darwin.{name}.meta")
    assert meta["mainProgram"] == ("rwkv-harness" if name == "tests" else name)
    assert meta["license"]["spdxId"] == "Apache-2.0"
    assert sorted(meta["platforms"]) == SYSTEMS


def test_the_version_is_the_packages(nix):
    version = nix.evaluate(".#checks.x86_64-linux.tests.version")
    assert f'__version__ = "{version}"' in (ROOT / "harness/__init__.py").read_text()


def required(*extras):
    """Names of what pyproject.toml asks for: always, or in extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["optional-dependencies"][extra] for extra in extras]
    lines = [line for group in groups for line in group] if extras else project["dependencies"]
    return {Requirement(line).name for line in lines}


def test_the_package_has_what_pyproject_asks_for(nix):
    """Also what another package would bring along by chance, and of the extras those of the pin."""
    has = nix.evaluate(".#checks.x86_64-linux.tests.propagatedBuildInputs", "map (p: p.pname)")
    assert set(has) == required() | required("torch", "hub", "chat") | {"rwkv"}
    developers = nix.evaluate(".#checks.x86_64-linux.tests.developer", "map (p: p.pname)")
    assert set(developers) == set(has) | required("test")


def test_a_build_runs_the_tests_that_are_meant_for_it(nix):
    assert nix.evaluate(".#checks.aarch64-darwin.tests.HARNESS_TESTS") == "build"


def test_the_overlay_adds_the_package_and_the_program_to_what_others_add(nix):
    apply = f"""overlay:
      let
        others = _: prev: {{
          pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
            (_: python: {{ theirs = python.numpy; }})
          ];
        }};
        pkgs = import {nix.stand_in} {{ system = "aarch64-linux"; overlays = [ others overlay ]; }};
        python = pkgs.python310Packages;
      in
      [ pkgs.rwkv-harness.drvPath python.rwkv-harness.drvPath python.theirs.drvPath ]
    """
    program, package, theirs = nix.evaluate(".#overlays.default", apply, "--impure")
    assert re.search(r"/[a-z0-9]{32}-rwkv-harness-[0-9.]+\.drv$", program)
    assert "-python3.10-rwkv-harness-" in package
    assert "-numpy-" in theirs


def edit(file, old, new):
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new))


def evaluation(nix, copy, system, name="bench"):
    return nix.refuses("eval", "--raw", f".#packages.{system}.{name}.drvPath", cwd=copy)


@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-darwin"])
def test_an_unfree_package_is_refused_in_a_cpu_output(nix, copy, system):
    recipe = copy / "nix/harness.nix"
    edit(recipe, ", torch\n, rwkv", ", torch, torch-bin\n, rwkv")
    edit(recipe, "    torch\n  ] ++", "    torch-bin\n  ] ++")
    assert "has an unfree license" in evaluation(nix, copy, system)


def test_the_outputs_with_cuda_have_the_wheel_and_no_others_may(nix, copy):
    edit(copy / "flake.nix", "config.allowUnfree = true;", "config.allowUnfree = false;")
    assert "torch-2.0.1’ has an unfree license" in evaluation(nix, copy, CUDA, "bench-cuda")
    assert "torch-2.0.1’ has an unfree license" in evaluation(nix, copy, CUDA, "rwkv-harness-cuda")


def test_a_package_that_the_pin_lacks_is_refused(nix, copy):
    recipe = copy / "nix/harness.nix"
    edit(recipe, ", torch\n, rwkv", ", torch, transformers\n, rwkv")
    edit(recipe, "    torch\n  ] ++", "    torch\n    transformers\n  ] ++")
    assert "transformers" in evaluation(nix, copy, "x86_64-linux")


def test_a_file_that_git_does_not_track_is_refused(nix, copy):
    (copy / "nix/programs.nix").rename(copy / "nix/other.nix")
    edit(copy / "flake.nix", "./nix/programs.nix", "./nix/other.nix")
    assert "other.nix" in evaluation(nix, copy, "x86_64-linux")
