# The official package: an engine beside ours, and the oracle of the runtime's tests. nixos-23.05
# lacks it; this is its pure-Python wheel of those days, fixed by hash.
{ buildPythonPackage
, fetchPypi
, numpy
, tokenizers
, torch
}:

buildPythonPackage rec {
  pname = "rwkv";
  version = "0.7.4";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-YdKSi+BV0V23NS72vgeSFwcBW4qQLOu34xDpCP8eulo=";
  };

  propagatedBuildInputs = [
    numpy
    tokenizers
    torch
  ];

  doCheck = false; # the wheel has no tests
}
