# Python of the stand-in: environments, wrappers and builders that behave as those of nixpkgs, with
# the host's interpreter and its distributions behind them. An environment holds what its packages
# name and nothing else, each in the version of python-packages.nix: a dependency that is missing in
# the flake is missing here.
{ lib, mkDrv, system, sh, pkgs }:
let
  version = "3.10.13";
  sitePackages = "lib/python3.10/site-packages";
  # A virtual environment's Python, whose distributions stand behind the packages; the one below it
  # runs them. A builder sees no variables of the host, so both paths are in files here.
  hostFile = name: default: if builtins.pathExists (./. + "/${name}") then lib.fileContents (./. + "/${name}") else default;
  distributions = hostFile "host-python" "/usr/bin/python3";
  interpreter = hostFile "host-interpreter" "/usr/bin/python3";

  known = import ./python-packages.nix { inherit lib system; };
  isHook = attr: builtins.elem attr [ "pytestCheckHook" "setuptools" ];

  # Links to the host's distribution of that name and to all that it requires.
  link = attr: name: "${distributions} ${./link_distribution.py} ${name} ${if isHook attr then "any" else known.${attr}.version or "any"} $out/${sitePackages}";

  leaf = attr: { version, pname ? attr, meta ? { } }: mkDrv {
    name = "python3.10-${pname}-${version}";
    script = "# ${attr}: two builds of one package are two\nmkdir -p $out/${sitePackages}\n${lib.optionalString (attr != "pytestCheckHook") (link attr pname)}";
    meta = { license = lib.licenses.mit; platforms = lib.platforms.all; } // meta;
    passthru = { inherit pname version; pythonModule = self; };
  };

  # All packages that these bring along, themselves included.
  closureOf = ps: catchConflicts (lib.unique (lib.concatMap (p: [ p ] ++ closureOf (p.propagatedBuildInputs or [ ])) ps));

  # One package in two builds fails the build there, and any environment with both.
  catchConflicts = ps:
    let
      twice = builtins.filter (p: builtins.length (builtins.filter (q: q.pname == p.pname) ps) > 1) ps;
    in
    if twice == [ ] then ps else throw "Found duplicated packages in closure for dependency '${(builtins.head twice).pname}'";

  # As nixpkgs wraps the interpreter of an environment, and each script of its packages: it finds the
  # packages by itself, knows itself by the path in the store, and looks at no package of the user's.
  wrapper = packages: ''
    mkdir -p $out/bin
    wrap() {
      { echo '#!${sh}'
        echo "export NIX_PYTHONPREFIX=$out NIX_PYTHONEXECUTABLE=$out/bin/python3.10 PYTHONNOUSERSITE=true"
        echo 'export NIX_PYTHONPATH=${lib.concatStringsSep ":" (map (p: "${p}/${sitePackages}") packages)}'
        echo 'export PYTHONPATH=${./startup}''${PYTHONPATH:+:$PYTHONPATH}'
        echo "exec ${interpreter} $2 \"\$@\""
      } > $out/bin/$1
      chmod +x $out/bin/$1
    }
    wrap python3.10 ""; ln -s python3.10 $out/bin/python; ln -s python3.10 $out/bin/python3
    for script in ${toString (map (p: "${p}/bin/*") packages)}; do
      if [ -e "$script" ]; then wrap "$(basename "$script")" "$script"; fi
    done
  '';

  passthruOf = a: { inherit (a) pname version; pythonModule = self; propagatedBuildInputs = a.propagatedBuildInputs or [ ]; } // (a.passthru or { });

  # The file that fetchPypi would bring stands empty; the host has the distribution.
  fromWheel = a: mkDrv {
    name = "python3.10-${a.pname}-${a.version}";
    script = "test -e ${a.src}\nmkdir -p $out/${sitePackages}\n${distributions} ${./link_distribution.py} ${a.pname} ${a.version} $out/${sitePackages}";
    meta = a.meta or { };
    passthru = passthruOf a;
  };

  fromSource = a:
    let
      checks = lib.optionals (a.doCheck or true) (a.nativeCheckInputs or [ ]);
      python = self.withPackages (_: closureOf ((a.propagatedBuildInputs or [ ]) ++ checks));
    in
    mkDrv {
      name = "python3.10-${a.pname}-${a.version}";
      deps = [ python ];
      env = { HARNESS_TESTS = a.HARNESS_TESTS or ""; };
      script = ''
        export HOME=/proc/homeless-shelter # one that not even root can make
        cp -r ${a.src}/. src; chmod -R u+w src; cd src
        ${distributions} -m pip install -q --no-index --no-deps --no-build-isolation --no-warn-script-location --root-user-action ignore --disable-pip-version-check --no-cache-dir --prefix=$out .
        rm -rf build *.egg-info
        ${lib.optionalString (builtins.any (d: d.pname or "" == "pytestCheckHook") checks) ''
          ${a.preCheck or ""}
          python -m pytest ${toString (a.pytestFlagsArray or [ ])}
        ''}
        cd /
        ${lib.concatStringsSep "\n" (map (m: "PYTHONPATH=$out/${sitePackages} python -c 'import ${m}'") (a.pythonImportsCheck or [ ]))}
      '';
      meta = a.meta or { };
      passthru = passthruOf a // { inherit (a) src; };
    };

  overridable = build: a: build a // { overridePythonAttrs = f: overridable build (a // f a); };
  # Of the formats there only these two stand here; another one would be built otherwise.
  build = overridable (a:
    let
      format = a.format or "setuptools";
      hasSetuptools = builtins.any (d: d.pname or "" == "setuptools") (a.nativeBuildInputs or [ ]);
    in
    if format == "wheel" then fromWheel a
    else if format != "pyproject" then throw "stand-in: no package of the format ${format} is built here"
    else if !hasSetuptools then throw "stand-in: ${a.pname} is built without setuptools"
    else fromSource a);

  fetchPypi = { pname, version, format, dist ? "py2.py3", python ? "py2.py3", abi ? "none", platform ? "any", hash }:
    if format != "wheel" then throw "stand-in: fetchPypi brings wheels"
    else if builtins.match "sha256-[A-Za-z0-9+/]{43}=" hash == null then throw "invalid SRI hash '${hash}'"
    else mkDrv { name = "${pname}-${version}-${python}-${abi}-${platform}.whl"; script = ": > $out"; };

  pkgSet = lib.fix (lib.extends (lib.composeManyExtensions pkgs.pythonPackagesExtensions) (final:
    builtins.mapAttrs leaf known // {
      python = self;
      callPackage = lib.callPackageWith (pkgs // final);
      buildPythonPackage = build;
      buildPythonApplication = build;
      inherit fetchPypi;
      toPythonModule = lib.id;
      toPythonApplication = lib.id;
    }));

  self = mkDrv {
    name = "python3-${version}";
    script = wrapper [ ];
    passthru = {
      inherit version sitePackages;
      pythonVersion = "3.10";
      interpreter = "${self}/bin/python3.10";
      pkgs = pkgSet;
      withPackages = f:
        let packages = closureOf (f pkgSet); in mkDrv {
          name = "python3-${version}-env";
          script = wrapper packages;
          passthru = { inherit version sitePackages; pythonVersion = "3.10"; paths = packages; };
        };
    };
  };
in
self
