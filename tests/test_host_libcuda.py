"""nix/host-libcuda.sh, sourced by bash on machines made of folders: no Nix, no driver, no GPU."""

import _ctypes
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "nix/host-libcuda.sh"
BASH = shutil.which("bash")

pytestmark = [
    pytest.mark.skipif(not SCRIPT.exists(), reason="not a checkout"),
    pytest.mark.skipif(BASH is None, reason="no bash"),
    pytest.mark.skipif(sys.platform != "linux", reason="CUDA in the flake is for Linux"),
]

# The first 20 bytes of shared libraries.
X86_64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00"
I386 = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\x00\x03\x00"
AARCH64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00"

DRIVER = ("libcuda.so", "libcuda.so.1", "libcuda.so.535.104", "libnvidia-ml.so.1")
HOST = ("libc.so.6", "libstdc++.so.6", "libnvidia-glcore.so.535.104", "libcudart.so.11.0")
STRICT = "set -o errexit -o nounset -o pipefail"
SKIPPED = "rwkv-harness: CUDA strategies will be skipped: "


class Machine:
    """A root folder with libraries, a home, and a bash that sources the script there."""

    def __init__(self, folder):
        self.root = folder / "a root"
        self.home = folder / "a home"
        self.root.mkdir()
        self.home.mkdir()
        self.cache = self.home / ".cache/rwkv-harness/libcuda"

    def install(self, directory, names=(*DRIVER, *HOST), kind=X86_64):
        """Put libraries into a directory of the root; give that directory."""
        where = self.root / directory.lstrip("/")
        where.mkdir(parents=True, exist_ok=True)
        for name in names:
            (where / name).write_bytes(kind)
        return where

    def ldconfig(self, *lines):
        """The host's ldconfig, which lists these."""
        listed = "\n".join(f"\t{line}" for line in lines)
        self.program("ldconfig", f'[ "$1" = -p ] && cat <<"END"\n{listed}\nEND', self.root / "sbin")

    def program(self, name, text, folder):
        """A program of the tests' own, in `folder`."""
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    def bash(self, code, **environ):
        """Run `code`, in which `source_it` stands for what sources the script."""
        code = code.replace("source_it", f"source {shlex.quote(str(SCRIPT))}")
        return subprocess.run([BASH, "-c", code], **self.started(environ), check=False)

    def started(self, environ):
        inherited = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        return {
            "env": {**inherited, "RWKV_HARNESS_ROOT": str(self.root), **environ},
            "cwd": self.home,
            "stdin": subprocess.DEVNULL,
            "capture_output": True,
            "text": True,
        }

    def path(self, code="source_it", options=STRICT, **environ):
        """LD_LIBRARY_PATH of a program that is started after `code`. Nothing is said."""
        done = self.bash(f"{options}\n{code}\nprintenv LD_LIBRARY_PATH", **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.removesuffix("\n").split(":")

    def links(self, **environ):
        """What the one directory that was added has: {name of the link: what it leads to}."""
        (added,) = self.path(**environ)
        assert Path(added).parent == self.cache
        return {link.name: link.readlink() for link in Path(added).iterdir()}

    def skips(self, **environ):
        """Why there will be no CUDA: one line that says so. LD_LIBRARY_PATH stays as it was."""
        done = self.bash(f'{STRICT}\nsource_it\nprintf "%s" "$LD_LIBRARY_PATH"', **environ)
        assert (done.returncode, done.stdout) == (0, environ["LD_LIBRARY_PATH"])
        assert done.stderr.startswith(SKIPPED)
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix(SKIPPED).strip()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def to(directory, *names):
    return {name: directory / name for name in names}


# Which directory it is


def test_on_nixos_the_drivers_own_directory_is_added(machine):
    there = machine.install("/run/opengl-driver/lib", (*DRIVER, "libGL.so.1"))
    machine.install("/usr/lib64")
    assert machine.path() == [str(there)]
    assert not machine.cache.exists()


def test_a_run_opengl_driver_that_leads_to_the_hosts_libraries_is_not_added_itself(machine):
    host = machine.install("/usr/lib/x86_64-linux-gnu")
    there = machine.root / "run/opengl-driver/lib"
    there.parent.mkdir(parents=True)
    there.symlink_to(host)
    assert machine.links() == to(there, *DRIVER)


@pytest.mark.parametrize(
    "directory",
    [
        "/usr/lib/wsl/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/nvidia/lib64",
    ],
)
def test_elsewhere_the_drivers_libraries_are_linked_and_no_others(machine, directory):
    there = machine.install(directory)
    assert machine.links() == to(there, *DRIVER)


def test_what_the_compiler_in_the_driver_and_wsl_need_is_linked_too(machine):
    needed = (
        *("libcuda.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4"),
        *("libnvidia-gpucomp.so.570.1", "libnvidia-nvvm70.so.4"),
        *("libdxcore.so", "libnvdxgdmal.so.1"),
    )
    there = machine.install("/usr/lib/wsl/lib", (*needed, "libd3d12.so", "libnvwgf2umx.so"))
    assert machine.links() == to(there, *needed)


def test_a_32_bit_driver_is_passed_over(machine):
    machine.install("/usr/lib64", ["libcuda.so.1"], kind=I386)
    there = machine.install("/usr/local/nvidia/lib64")
    assert machine.links() == to(there, *DRIVER)


@pytest.mark.parametrize("kind", [I386, AARCH64, b"", b"INPUT(libcuda.so.535)"])
def test_a_driver_for_another_processor_is_none(machine, kind):
    machine.install("/usr/lib", kind=kind)
    assert machine.skips(LD_LIBRARY_PATH="/x").startswith("found no NVIDIA driver; ")


def test_ldconfig_knows_the_directories_that_are_not_usual(machine):
    machine.install("/opt/32", kind=I386)
    machine.install("/usr/local/cuda/compat")
    machine.install("/usr/local/cuda/lib64/stubs")
    there = machine.install("/opt/my driver/lib")
    machine.ldconfig(
        "libcudart.so.11.0 (libc6,x86-64) => /opt/32/libcudart.so.11.0",
        "libcuda.so.1 (libc6) => /opt/32/libcuda.so.1",
        "libcuda.so.1 (libc6,x86-64) => /opt/32/libcuda.so.1",
        "libcuda.so.1 (libc6,x86-64) => /usr/local/cuda/compat/libcuda.so.1",
        "libcuda.so.1 (libc6,x86-64) => /usr/local/cuda/lib64/stubs/libcuda.so.1",
        "libcuda.so.1 (libc6,x86-64) => /opt/gone/libcuda.so.1",
        "libcuda.so.1 (libc6,x86-64) => /opt/my driver/lib/libcuda.so.1",
        "libcuda.so (libc6,x86-64) => /opt/my driver/lib/libcuda.so",
    )
    assert machine.links() == to(there, *DRIVER)


def test_an_ldconfig_on_path_is_asked_where_sbin_has_none(machine, tmp_path):
    there = machine.install("/opt/driver")
    line = "libcuda.so.1 (libc6,x86-64) => /opt/driver/libcuda.so.1"
    machine.program("ldconfig", f"echo '{line}'", tmp_path / "bin")
    assert machine.links(PATH=f"{tmp_path}/bin:{os.environ['PATH']}") == to(there, *DRIVER)


# RWKV_HARNESS_DRIVER


def test_the_directory_that_the_variable_names_comes_before_all_others(machine):
    machine.install("/run/opengl-driver/lib")
    machine.install("/usr/lib64")
    mine = machine.install("/opt/my driver")
    assert machine.links(RWKV_HARNESS_DRIVER=str(mine)) == to(mine, *DRIVER)
    assert machine.links(RWKV_HARNESS_DRIVER=f"{mine}/libcuda.so.1") == to(mine, *DRIVER)


def test_a_relative_one_is_of_the_current_directory(machine):
    machine.install("/mine")
    links = machine.links(RWKV_HARNESS_DRIVER="../a root/mine")
    assert links == to(machine.home / "../a root/mine", *DRIVER)


def test_an_empty_one_is_none(machine):
    there = machine.install("/usr/lib64")
    assert machine.links(RWKV_HARNESS_DRIVER="") == to(there, *DRIVER)


@pytest.mark.parametrize(
    ("kind", "said"), [(None, "has no libcuda.so.1"), (I386, "no 64-bit library for x86")]
)
def test_one_that_cannot_be_used_is_an_error_that_leaves_a_shell_alive(machine, kind, said):
    machine.install("/usr/lib64")
    machine.install("/mine", DRIVER if kind else ["libGL.so.1"], kind=kind or X86_64)
    code = 'source_it; echo "$? ${LD_LIBRARY_PATH-none}"'
    mine = f"{machine.root}/mine"
    shell = machine.bash(code, RWKV_HARNESS_DRIVER=mine)
    assert (shell.returncode, shell.stdout) == (0, "1 none\n")
    assert f"rwkv-harness: RWKV_HARNESS_DRIVER={mine}" in shell.stderr
    assert said in shell.stderr
    app = machine.bash(f"{STRICT}\n{code}", RWKV_HARNESS_DRIVER=mine)
    assert (app.returncode, app.stdout, app.stderr) == (1, "", shell.stderr)


# LD_LIBRARY_PATH


@pytest.mark.parametrize("options", [":", STRICT, "set -fC; shopt -s failglob inherit_errexit"])
@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ("", []),
        ("/a", ["/a"]),
        (":/a b::/c:", ["/a b", "/c"]),
        ("/a:/a", ["/a", "/a"]),
        ("/*", ["/*"]),
    ],
)
def test_the_path_keeps_what_was_there_but_no_empty_element(machine, options, before, kept):
    machine.install("/usr/lib64")
    added, *others = machine.path(options=options, LD_LIBRARY_PATH=before)
    assert {path.name for path in Path(added).iterdir()} == set(DRIVER)
    assert others == kept


def test_sourced_twice_it_is_there_once_and_first(machine):
    machine.install("/usr/lib64")
    added, kept = machine.path("source_it\nsource_it", LD_LIBRARY_PATH="/a")
    again = machine.path("source_it", LD_LIBRARY_PATH=f"/a:{added}:/b")
    assert (kept, again) == ("/a", [added, "/a", "/b"])
    assert [path.name for path in machine.cache.iterdir()] == [Path(added).name]


def test_without_a_driver_one_line_says_what_to_do(machine):
    assert machine.skips(LD_LIBRARY_PATH=":/a::") == (
        "found no NVIDIA driver; install it, or set RWKV_HARNESS_DRIVER to the folder of its "
        "libcuda.so.1"
    )
    assert machine.bash(f"{STRICT}\nsource_it; export -p | grep -c LD_LIB").stdout == "0\n"


# The links


def test_links_of_a_driver_that_has_gone_are_removed(machine):
    there = machine.install("/usr/lib64", [*DRIVER, "libnvidia-gpucomp.so.535.104"])
    (old,) = machine.path()
    (there / "libnvidia-gpucomp.so.535.104").rename(there / "libnvidia-gpucomp.so.570.1")
    (new,) = machine.path()
    assert new != old
    assert [path.name for path in machine.cache.iterdir()] == [Path(new).name]
    assert machine.links() == to(there, *DRIVER, "libnvidia-gpucomp.so.570.1")


def test_a_damaged_directory_is_made_again(machine):
    there = machine.install("/usr/lib64")
    (added,) = machine.path()
    (Path(added) / "libcuda.so.1").unlink()
    (Path(added) / "libcuda.so.1").symlink_to(machine.root / "nowhere")
    assert machine.links() == to(there, *DRIVER)


def test_shells_with_two_drivers_leave_each_others_links_alone(machine):
    one, other = machine.install("/one"), machine.install("/other")
    first = machine.path(RWKV_HARNESS_DRIVER=str(one))
    second = machine.path(RWKV_HARNESS_DRIVER=str(other))
    assert first != second
    assert (Path(first[0]) / "libcuda.so.1").readlink() == one / "libcuda.so.1"
    assert machine.path(RWKV_HARNESS_DRIVER=str(one)) == first


def test_where_another_shell_is_faster_its_links_are_used(machine, tmp_path):
    there = machine.install("/usr/lib64")
    # Just before ours is moved into place, theirs is there.
    theirs = 'for last; do :; done; cp -R "$3" "$last"; touch "$last/theirs"'
    machine.program("mv", f'{theirs}; exec {shutil.which("mv")} "$@"', tmp_path / "bin")
    (added,) = machine.path(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert [str(path) for path in machine.cache.iterdir()] == [added]
    assert {path.name for path in Path(added).iterdir()} == {*DRIVER, "theirs"}
    assert (Path(added) / "libcuda.so.1").readlink() == there / "libcuda.so.1"


def test_shells_that_start_at_once_agree(machine):
    machine.install("/usr/lib64")
    one = f"source {shlex.quote(str(SCRIPT))}; echo $LD_LIBRARY_PATH"
    done = machine.bash(f"for i in 1 2 3 4 5 6; do ({one}) & done; wait")
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 6
    (made,) = machine.cache.iterdir()
    assert set(done.stdout.splitlines()) == {str(made)}


def test_the_cache_moves_with_xdg_cache_home(machine, tmp_path):
    machine.install("/usr/lib64")
    (added,) = machine.path(XDG_CACHE_HOME=str(tmp_path / "elsewhere"))
    assert Path(added).parent == tmp_path / "elsewhere/rwkv-harness/libcuda"
    assert machine.links(XDG_CACHE_HOME="relative is ignored")


def test_a_home_that_cannot_be_written_is_said_and_no_failure(machine):
    machine.install("/usr/lib64")
    (machine.home / ".cache").write_text("a file, so that even root cannot make a folder here")
    assert machine.skips(LD_LIBRARY_PATH="/a") == (
        f"cannot write {machine.cache}; set XDG_CACHE_HOME to a folder that you can write"
    )


def test_so_is_none_at_all(machine):
    machine.install("/usr/lib64")
    assert machine.skips(LD_LIBRARY_PATH="/a", HOME="").endswith("set HOME or XDG_CACHE_HOME")


@pytest.mark.parametrize("name", ["a:b", "a;b"])
def test_so_is_one_that_the_path_cannot_hold(machine, name):
    machine.install("/usr/lib64")
    said = machine.skips(LD_LIBRARY_PATH="/a", XDG_CACHE_HOME=f"{machine.home}/{name}")
    assert said.startswith(f"LD_LIBRARY_PATH cannot hold {machine.home}/{name}; ")
    assert not (machine.home / name).exists()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flake's CUDA is for x86_64")
def test_a_program_loads_the_driver_through_the_links(machine):
    there = machine.install("/usr/lib64", HOST)
    shutil.copy(_ctypes.__file__, there / "libcuda.so.1")  # some library that is a real one
    load = "import ctypes; ctypes.CDLL('libcuda.so.1'); print('loaded')"
    done = machine.bash(f'{STRICT}\nsource_it\n{shlex.quote(sys.executable)} -c "{load}"')
    assert (done.returncode, done.stdout, done.stderr) == (0, "loaded\n", "")
    assert machine.links() == to(there, "libcuda.so.1")


# The shell that sources it


@pytest.mark.parametrize("driver", ["", "/nowhere"])
@pytest.mark.parametrize("options", [":", "set -fCu; shopt -s failglob"])
def test_nothing_but_the_path_changes_in_the_shell(machine, options, driver):
    machine.install("/usr/lib64")
    state = "compgen -v; declare -F; set +o; shopt; trap; pwd"
    done = machine.bash(
        f"{options}\nexport LD_LIBRARY_PATH=/a before= after=\n: first\n"
        f'before=$({state})\nsource_it\nafter=$({state})\n[ "$before" = "$after" ] && echo same\n'
        'diff <(echo "$before") <(echo "$after")',
        RWKV_HARNESS_DRIVER=driver,
    )
    assert done.stdout == "same\n"


def test_shellcheck_has_nothing_to_say():
    if (shellcheck := shutil.which("shellcheck")) is None:
        pytest.skip("no shellcheck")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
