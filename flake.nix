{
  description = "Reproducible benchmarks of RWKV-4 language models";

  # The last release whose default interpreter, the one Hydra built and tested
  # on all four systems, is Python 3.10.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-23.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;

      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];

      # Systems that PyTorch publishes a CUDA wheel for.
      cudaSystems = [ "x86_64-linux" ];

      # legacyPackages: one evaluation of nixpkgs, shared with everyone else's.
      forAllSystems = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});

      # The CUDA wheel is unfree, so it gets a package set of its own: nobody
      # who runs on a CPU accepts an unfree licence, or evaluates a second nixpkgs.
      forCudaSystems =
        f:
        lib.genAttrs cudaSystems (
          system:
          f (
            import nixpkgs {
              inherit system;
              config.allowUnfree = true;
            }
          )
        );

      harnessFor = pkgs: pkgs.python310Packages.callPackage ./nix/harness.nix { };
      harnessCudaFor =
        pkgs: (harnessFor pkgs).override { torch = pkgs.python310Packages.torch-bin; };

      # An interpreter that finds the harness by itself: every trial starts another one like it,
      # which a wrapped script would leave without its libraries.
      commandFor =
        pkgs: name: harness: text:
        pkgs.writeShellApplication {
          inherit name text;
          runtimeInputs = [ (pkgs.python310.withPackages (_: [ harness ])) ];
        };

      cliFor = pkgs: harness: commandFor pkgs "rwkv-harness" harness ''
        exec python -m harness "$@"
      '';

      # Without a study the shipped one, which needs no download.
      benchFor = pkgs: harness: commandFor pkgs "bench" harness ''
        case "''${1-}" in
          "" | -*) set -- builtin:quickstart "$@" ;;
        esac
        exec python -m harness run "$@"
      '';

      benchCudaFor =
        pkgs:
        pkgs.writeShellApplication {
          name = "bench-cuda";
          runtimeInputs = [ (benchFor pkgs (harnessCudaFor pkgs)) ];
          text = ''
            # shellcheck source=/dev/null
            source ${./nix/host-libcuda.sh}
            exec bench "$@"
          '';
        };

      # The shell runs the checkout, from wherever in it.
      shellFor =
        pkgs: harness: hook:
        pkgs.mkShell {
          packages = [
            (pkgs.python310.withPackages (_: harness.developer))
            pkgs.nixpkgs-fmt
          ];
          shellHook = ''
            export PYTHONPATH=$PWD''${PYTHONPATH:+:$PYTHONPATH}
            ${hook}
          '';
        };

      app = drv: description: {
        type = "app";
        program = lib.getExe drv;
        meta = { inherit description; };
      };
    in
    {
      overlays.default = final: prev: {
        pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
          (pyFinal: pyPrev: { rwkv-harness = pyFinal.callPackage ./nix/harness.nix { }; })
        ];
      };

      packages = lib.recursiveUpdate
        (forAllSystems (pkgs: rec {
          default = rwkv-harness;
          rwkv-harness = cliFor pkgs (harnessFor pkgs);
          bench = benchFor pkgs (harnessFor pkgs);
        }))
        (forCudaSystems (pkgs: {
          bench-cuda = benchCudaFor pkgs;
        }));

      apps = lib.mapAttrs
        (system: packages:
          {
            default = self.apps.${system}.bench;
            bench = app packages.bench "Run a study: nix run .#bench -- STUDY";
            rwkv-harness = app packages.rwkv-harness "The command line: nix run .#rwkv-harness -- --help";
          }
          // lib.optionalAttrs (packages ? bench-cuda) {
            bench-cuda = app packages.bench-cuda "Run a study on an NVIDIA GPU";
          })
        self.packages;

      devShells = lib.recursiveUpdate
        (forAllSystems (pkgs: {
          default = shellFor pkgs (harnessFor pkgs) "";
        }))
        (forCudaSystems (pkgs: {
          cuda = shellFor pkgs (harnessCudaFor pkgs) "source ${./nix/host-libcuda.sh}";
        }));

      # `nix flake check` builds these; the CUDA variants are 5 GB and are left out.
      checks = forAllSystems (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
        in
        {
          tests = harnessFor pkgs; # its build runs them
          rwkv-harness = self.packages.${system}.rwkv-harness; # shellcheck
          bench = self.packages.${system}.bench;
          devShell = self.devShells.${system}.default;
        }
      );

      formatter = forAllSystems (pkgs: pkgs.nixpkgs-fmt);
    };
}
