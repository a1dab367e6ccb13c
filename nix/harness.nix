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
    psutil
    pyyaml
    rich
    safetensors
    scipy
    tokenizers
    torch
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
    "(README|CONTRIBUTING)\\.md"
    "LICENSE"
    "(harness|tests|configs)(/.*)?"
  ];

  nativeBuildInputs = [ setuptools ];

  propagatedBuildInputs = dependencies;

  nativeCheckInputs = [
    pytestCheckHook
    hypothesis
    pytest-benchmark
    pytest-xdist
    rwkv
  ];

  # A builder is no place to time anything. The two workers of the Makefile, not one per core of a
  # large builder, each with PyTorch in its memory.
  dontUsePytestXdist = true;
  pytestFlagsArray = [
    "--benchmark-disable"
    "--numprocesses=2"
  ];

  pythonImportsCheck = [ "harness" ];

  passthru = {
    # For a shell that runs the checkout instead of this build.
    developer = dependencies ++ [
      hypothesis
      pytest
      pytest-benchmark
      pytest-xdist
      rwkv
    ];
  };

  meta = {
    description = "Reproducible benchmarks of RWKV-4 language models";
    license = lib.licenses.asl20;
    mainProgram = "rwkv-harness";
    platforms = lib.platforms.unix;
  };
}
