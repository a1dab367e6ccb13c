# What people start: the command line, the benchmark, the tests and the developers' shell, around one
# build of the harness. Knows nothing of systems and flakes.
{ lib
, coreutils
, mkShell
, nixpkgs-fmt
, python310
, stdenv
, symlinkJoin
, writeShellApplication
, closure # the file that says what this is made from, see flake.nix
, harness
, suffix ? "" # of the programs' names
, prelude ? "" # shell code that runs before each of them
}:

let
  # Environments, because their interpreter finds its libraries by itself: every trial starts another
  # one like it, which a script with a path of its own would leave without them.
  installed = python310.withPackages (_: [ harness ]);
  developer = python310.withPackages (_: harness.developer);

  environment = ''
    export RWKV_HARNESS_CLOSURE=${closure}
    ${prelude}
  '';

  program = { name, description, python ? installed, text }:
    let
      fullName = name + suffix;
    in
    # Around it once more, because writeShellApplication takes no meta in nixos-23.05.
    symlinkJoin {
      name = "${fullName}-${harness.version}";
      paths = [
        (writeShellApplication {
          name = fullName;
          runtimeInputs = [ python coreutils ];
          text = ''
            unset PYTHONPATH PYTHONHOME
            export RWKV_HARNESS_COMMAND='nix run .#rwkv-harness${suffix} --'
            ${environment}
            ${text}
          '';
        })
      ];
      meta = {
        inherit (harness.meta) license platforms;
        inherit description;
        mainProgram = fullName;
      };
    };
in
# They start the installed script: `python -m harness` would take a `harness` of the folder that the
# caller is in.
{
  cli = program {
    name = "rwkv-harness";
    inherit (harness.meta) description;
    text = ''
      exec rwkv-harness "$@"
    '';
  };

  # The study that comes with it needs no download.
  bench = program {
    name = "bench";
    description = "Measure a study of RWKV-4 strategies; without arguments the quickstart study";
    text = ''
      if [ $# -eq 0 ]; then
        set -- builtin:quickstart
      fi
      exec rwkv-harness run "$@"
    '';
  };

  # In a copy: tests write beside the sources, and the store is read-only.
  test = program {
    name = "test";
    description = "Run the tests of the harness";
    python = developer;
    text = ''
      work=$(mktemp -d)
      trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
      cp -r ${harness.src} "$work/rwkv-harness"
      chmod -R u+w "$work"
      cd "$work/rwkv-harness"
      python -m pytest --benchmark-disable --numprocesses 2 -W default "$@"
    '';
  };

  # Runs the checkout that it is started in, with everything that the harness and its tests need.
  shell = mkShell {
    name = "rwkv-harness${suffix}";
    packages = [
      developer
      stdenv.cc # a C++ compiler
      nixpkgs-fmt
    ];
    shellHook = ''
      source ${./checkout.sh}
      ${environment}
    '';
  };
}
