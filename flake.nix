{
  description = "Reproducible benchmarks of RWKV-4 language models";

  # The last release whose default interpreter, the one that was built and tested on all four
  # systems, is Python 3.10.
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

      # The CUDA wheel is unfree, so it gets a package set of its own: nobody who runs on a CPU
      # accepts an unfree licence, or evaluates a second nixpkgs.
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

      # What every record says of where it comes from (harness/machine/provenance.py). A nixpkgs
      # that is overridden by a folder has no revision.
      closureFile =
        pkgs: source:
        pkgs.writeText "rwkv-harness-closure.json" (
          builtins.toJSON {
            store = builtins.storeDir;
            nixpkgs_rev = source.rev or null;
            nixpkgs_nar_hash = source.narHash or null;
            flake_lock_sha256 = builtins.hashFile "sha256" ./flake.lock;
          }
        );

      harnessFor = pkgs: pkgs.python310Packages.callPackage ./nix/harness.nix { };

      harnessCudaFor =
        pkgs:
        (harnessFor pkgs).override {
          torch = pkgs.python310Packages.torch-bin;
          nvml = pkgs.python310Packages.callPackage ./nix/nvml.nix { };
        };

      programsFor =
        pkgs: arguments:
        pkgs.callPackage ./nix/programs.nix (
          {
            closure = closureFile pkgs nixpkgs;
            harness = harnessFor pkgs;
          }
          // arguments
        );

      programs = forAllSystems (pkgs: programsFor pkgs { });

      cudaPrograms = forCudaSystems (
        pkgs:
        programsFor pkgs {
          harness = harnessCudaFor pkgs;
          suffix = "-cuda";
          prelude = ''
            # shellcheck source=/dev/null
            source ${./nix/host-libcuda.sh}
          '';
        }
      );

      app = program: {
        type = "app";
        program = lib.getExe program;
        meta = { inherit (program.meta) description; };
      };

      # Merges the outputs of CUDA's systems into those of all.
      withCuda =
        all: cuda:
        lib.recursiveUpdate (lib.mapAttrs (_: all) programs) (lib.mapAttrs (_: cuda) cudaPrograms);
    in
    {
      overlays.default = final: prev: {
        pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
          (pyFinal: _: { rwkv-harness = pyFinal.callPackage ./nix/harness.nix { }; })
        ];
        # Whose nixpkgs this is, an overlay cannot know.
        rwkv-harness = (programsFor final {
          closure = closureFile final { };
          harness = final.python310Packages.rwkv-harness;
        }).cli;
      };

      packages = withCuda
        (programs: {
          default = programs.cli;
          rwkv-harness = programs.cli;
          bench = programs.bench;
        })
        (programs: {
          rwkv-harness-cuda = programs.cli;
          bench-cuda = programs.bench;
        });

      apps = withCuda
        (programs: {
          default = app programs.bench;
          bench = app programs.bench;
          rwkv-harness = app programs.cli;
          test = app programs.test;
        })
        (programs: {
          bench-cuda = app programs.bench;
          rwkv-harness-cuda = app programs.cli;
        });

      devShells = withCuda
        (programs: { default = programs.shell; })
        (programs: { cuda = programs.shell; });

      # `nix flake check` builds these. Those with CUDA are 5 GB and unfree, and are left out.
      checks = forAllSystems (
        pkgs:
        let
          here = programs.${pkgs.stdenv.hostPlatform.system};
        in
        {
          tests = (harnessFor pkgs).override { withTests = true; }; # its build runs them
          rwkv-harness = here.cli;
          bench = here.bench;
          test-app = here.test;
          devShell = here.shell;
        }
      );

      formatter = forAllSystems (pkgs: pkgs.nixpkgs-fmt);
    };
}
