# The harness as a Python package of nixpkgs, with everything that its commands need.
#
# Left out of it: the extras `onnx` and `cluster` and the engines `transformers`, `jax` and
# `tensorflow`, each of which would have to be in the binary cache for all four systems (nixos-23.05
# has no onnxruntime for macOS), or be compiled by whoever runs this. `nvidia-ml-py` comes with CUDA.
{ lib
, buildPythonPackage
, callPackage
, setuptools
, click
, huggingface-hub
, hypothesis
, jinja2
, jsonschema
, matplotlib
, msgspec
, numpy
, pandas
, prompt-toolkit
, psutil
, pytest
, pytest-benchmark
, pytest-xdist
, pytestCheckHook
, pyyaml
, rich
, safetensors
, scipy
, tokenizers
, torch
, rwkv ? callPackage ./rwkv.nix { inherit torch; }
, nvml ? null # only where there can be an NVIDIA GPU
, withTests ? false # a check of the flake runs them; nobody who only runs a study waits for them
}:

let
  dependencies = [
    click
    huggingface-hub
    jinja2
    jsonschema
    matplotlib
    msgspec
    numpy
    pandas
    prompt-toolkit
    psutil
    pyyaml
    rich
    rwkv
    safetensors
    scipy
    tokenizers
    torch
  ] ++ lib.optional (nvml != null) nvml;

  testDependencies = [
    hypothesis
    pytest
    pytest-benchmark
    pytest-xdist
  ];
in
buildPythonPackage {
  pname = "rwkv-harness";
  version = builtins.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (builtins.readFile ../harness/__init__.py)
  );
  format = "pyproject";

  # What the build and the tests read: a change of results/ or of the flake rebuilds nothing. The
  # quickstart study in configs/ is a link into harness/, so both have to come along.
  src = lib.sourceByRegex ../. [
    "pyproject\\.toml"
    "(README|CONTRIBUTING|CHANGELOG)\\.md"
    "LICENSE"
    "(harness|tests|configs)(/.*)?"
  ];

  nativeBuildInputs = [ setuptools ];

  propagatedBuildInputs = dependencies;

  # The lock fixes the versions; the bounds in pyproject.toml are for who has pip to choose them.
  pipInstallFlags = [ "--no-deps" ];

  doCheck = withTests;
  nativeCheckInputs = testDependencies ++ [ pytestCheckHook ];

  # The part of the tests that tests/conftest.py keeps for a builder: no test of the flake, which
  # would build this again, and nothing that holds gigabytes.
  HARNESS_TESTS = "build";
  # Matplotlib writes down at home which fonts there are, or looks for them in each process again.
  preCheck = "export HOME=$(mktemp -d)";
  # Tests with a server on loopback, in the sandbox of macOS.
  __darwinAllowLocalNetworking = true;

  # The two workers of the Makefile, not one per core of a large builder, each with PyTorch in its
  # memory. A warning is an error for who works on the harness, not for who builds it.
  dontUsePytestXdist = true;
  pytestFlagsArray = [
    "--benchmark-disable"
    "--numprocesses=2"
    "-W"
    "default"
  ];

  pythonImportsCheck = [ "harness" ];

  passthru = {
    # For an environment that runs a checkout instead of this build.
    developer = dependencies ++ testDependencies;
  };

  meta = {
    description = "Reproducible benchmarks of RWKV-4 language models";
    license = lib.licenses.asl20;
    mainProgram = "rwkv-harness";
    platforms = lib.platforms.unix;
  };
}
