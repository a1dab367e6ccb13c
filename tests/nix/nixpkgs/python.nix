{ lib, mkDrv, system, sh, pkgs }:
let
  version = "3.10.13";
  sitePackages = "lib/python3.10/site-packages";
  # What stands behind `python`: $HARNESS_PYTHON at run time, else the path in ./host-python
  # (a builder sees no host variables, so the checks need it in a file), else the host's python3.
  hostPython = if builtins.pathExists ./host-python then lib.fileContents ./host-python else "/usr/bin/python3";
  wrapper = paths: ''
    printf '#!${sh}\nexport PYTHONPATH="%s''${PYTHONPATH:+:$PYTHONPATH}"\nexec "''${HARNESS_PYTHON:-${hostPython}}" "$@"\n' '${paths}' > $out/bin/python
    chmod +x $out/bin/python; ln -s python $out/bin/python3; ln -s python $out/bin/python3.10
  '';
  known = import ./python-packages.nix { inherit lib system; };
  leaf = attr: { version, pname ? attr, meta ? { } }: mkDrv {
    name = "python3.10-${pname}-${version}";
    script = "mkdir -p $out/${sitePackages}";
    meta = { license = lib.licenses.mit; platforms = lib.platforms.all; } // meta;
    passthru = { inherit pname version; pythonModule = self; };
  };
  # Extra arguments of pytest in ./pytest-args keep a build short (a builder sees no variables).
  pytestArgs = if builtins.pathExists ./pytest-args then lib.fileContents ./pytest-args else "";
  fromWheel = a: mkDrv {
    name = "python3.10-${a.pname}-${a.version}";
    script = "mkdir -p $out/${sitePackages}; test -e ${a.src}";
    passthru = { inherit (a) pname version; pythonModule = self; };
  };
  fromSource = a: mkDrv {
    name = "python3.10-${a.pname}-${a.version}";
    deps = [ self ] ++ (a.nativeCheckInputs or [ ]) ++ (a.propagatedBuildInputs or [ ]);
    script = ''
      mkdir -p $out/bin $out/${sitePackages}
      cp -r ${a.src}/. src; chmod -R u+w src; cd src
      cp -r harness $out/${sitePackages}/
      ${wrapperFor a}
      export HOME=$PWD PYTHONPATH=$out/${sitePackages}
      ${lib.optionalString (wantsPytest a) "python -m pytest -q -p no:cacheprovider ${toString (a.pytestFlagsArray or [ ])} ${pytestArgs}"}
      ${lib.concatStringsSep "\n" (map (m: "python -c 'import ${m}'") (a.pythonImportsCheck or [ ]))}
    '';
    meta = a.meta or { };
    passthru = { inherit (a) pname version; pythonModule = self; propagatedBuildInputs = a.propagatedBuildInputs or [ ]; } // (a.passthru or { });
  };
  build = a: if a.format or "" == "wheel" then fromWheel a else fromSource a;
  wantsPytest = a: builtins.any (d: d.pname or "" == "pytestCheckHook") (a.nativeCheckInputs or [ ]);
  wrapperFor = a: ''
    printf '#!${sh}\nexport PYTHONPATH="%s''${PYTHONPATH:+:$PYTHONPATH}"\nexec "''${HARNESS_PYTHON:-${hostPython}}" -m harness "$@"\n' "$out/${sitePackages}" > $out/bin/${a.meta.mainProgram or a.pname}
    chmod +x $out/bin/${a.meta.mainProgram or a.pname}
  '';
  pkgSet = lib.fix (lib.extends (lib.composeManyExtensions pkgs.pythonPackagesExtensions) (final:
    builtins.mapAttrs leaf known // {
      python = self;
      callPackage = lib.callPackageWith (pkgs // final);
      buildPythonPackage = build;
      buildPythonApplication = build;
      fetchPypi = a: mkDrv { name = "${a.pname}-${a.version}.whl"; script = ": > $out"; };
      toPythonModule = lib.id;
      toPythonApplication = lib.id;
    }));
  self = mkDrv {
    name = "python3-${version}";
    script = "mkdir -p $out/bin\n" + wrapper "";
    passthru = {
      inherit version sitePackages;
      pythonVersion = "3.10";
      interpreter = "${self}/bin/python";
      pkgs = pkgSet;
      withPackages = f:
        let ps = f pkgSet; in mkDrv {
          name = "python3-${version}-env";
          script = "mkdir -p $out/bin\n" + wrapper (lib.concatStringsSep ":" (map (p: "${p}/${sitePackages}") ps));
          passthru = { inherit version sitePackages; pythonVersion = "3.10"; paths = ps; };
        };
    };
  };
in
self
