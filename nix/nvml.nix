# NVIDIA's own bindings of NVML: driver, clocks and memory of GPUs. Its pure-Python wheel, because
# it finds the driver through LD_LIBRARY_PATH, which host-libcuda.sh sets; nixpkgs patches `pynvml`
# to look only where NixOS has the driver.
{ buildPythonPackage
, fetchPypi
}:

buildPythonPackage rec {
  pname = "nvidia_ml_py";
  version = "11.525.131";
  format = "wheel";

  src = fetchPypi {
    inherit pname version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-zlCx6HQBlgVXvTHsB/hjEL2JazKCRQXzgulT2w9HnKs=";
  };

  doCheck = false; # the wheel has no tests
}
