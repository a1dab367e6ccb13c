# The official package, the oracle of the runtime's tests and an engine of its own. It is not in
# nixos-23.05; this is its pure-Python wheel, fixed by hash.
{ buildPythonPackage
, fetchPypi
, numpy
, tokenizers
, torch
}:

buildPythonPackage rec {
  pname = "rwkv";
  version = "0.8.32";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-0/BZSBCkp+kVafF3AD7CIpTD6ryRxfjQ/zURcC1LZ8E=";
  };

  propagatedBuildInputs = [
    numpy
    tokenizers
    torch
  ];

  doCheck = false; # the wheel has no tests
}
