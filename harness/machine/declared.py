"""Every fact, declared once: its group, kind, what must match for a comparison, and what it is.

`probe_machine` gives all facts of the machine's groups, an engine those of "Engine", and a trial
those of "Study and engine"; in a record each is there, or has a reason. Host and user names,
serial numbers and the GPUs' identifiers are never among them. Knows not how a fact is found out.

What must match: two speeds can be compared as speeds of the same machine where all facts that
matter for `speed` are equal; answers, and every other computed number, can differ for no other
reason than the strategy where those that matter for `answers` are; load times hang besides on those
that matter for `loading`. A fact that matters for neither
tells where something came from, or whose effect another fact states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness.machine import kinds as k
from harness.machine.kinds import Kind

Matters = tuple[str, ...]
NOTHING: Matters = ()
SPEED: Matters = ("speed",)
ANSWERS: Matters = ("answers",)
BOTH: Matters = ("speed", "answers")
LOADING: Matters = ("loading",)


class About(NamedTuple):
    """What a fact is."""

    group: str
    kind: Kind
    must_match: Matters  # for which comparisons it must be the same
    what: str
    members: Mapping[str, About] = {}  # of each mapping, where it is a list of them


_Row = tuple[Kind, Matters, str]

# Of each NVIDIA GPU. The unique identifier is left out: it would tell one host from all others.
_GPU: Mapping[str, _Row] = {
    "name": (k.TEXT, BOTH, "name of the GPU"),
    "memory_bytes": (k.BYTES, SPEED, "its memory"),
    "compute_capability": (k.TEXT, BOTH, "generation of its instruction set"),
    "vbios": (k.TEXT, NOTHING, "version of its firmware"),
    "power_limit_w": (k.WATTS, SPEED, "power that it may draw"),
    "default_power_limit_w": (k.WATTS, NOTHING, "power that it may draw by default"),
    "default_sm_mhz": (k.MHZ, SPEED, "clock of its multiprocessors by default"),
    "default_memory_mhz": (k.MHZ, SPEED, "clock of its memory by default"),
    "max_sm_mhz": (k.MHZ, SPEED, "highest clock of its multiprocessors"),
    "max_memory_mhz": (k.MHZ, SPEED, "highest clock of its memory"),
    "application_sm_mhz": (k.MHZ, SPEED, "clock of its multiprocessors that programs ask for"),
    "application_memory_mhz": (k.MHZ, SPEED, "clock of its memory that programs ask for"),
    "persistence": (k.YES_NO, SPEED, "whether the driver stays loaded between programs"),
    "compute_mode": (k.TEXT, NOTHING, "how many programs may use it at once"),
    "ecc": (k.YES_NO, SPEED, "whether its memory corrects errors"),
    "mig": (k.YES_NO, SPEED, "whether it is cut into instances"),
    "pcie_generation": (k.COUNT, SPEED, "highest PCIe generation of GPU and slot together"),
    "pcie_width": (k.LANES, SPEED, "most PCIe lanes of GPU and slot together"),
    "pcie_width_now": (k.LANES, NOTHING, "PCIe lanes in use when the run began"),
    "details": (k.TEXT, NOTHING, "what else would be known"),
}

# Units are in the names.
_GROUPS: Mapping[str, Mapping[str, _Row]] = {
    "Processor": {
        "cpu_model": (k.TEXT, SPEED, "name of the processor"),
        "cpu_vendor": (k.TEXT, NOTHING, "who made it"),
        "cpu_revision": (k.PAIRS, SPEED, "family, model and stepping, or the like"),
        "cpu_sockets": (k.COUNT, SPEED, "processors of the machine"),
        "cpu_cores": (k.COUNT, SPEED, "physical cores of the machine"),
        "cpu_core_kinds": (k.COUNTS, SPEED, "hardware threads of each kind of core"),
        "cpu_threads": (k.COUNT, SPEED, "hardware threads of the machine"),
        "cpu_smt": (k.YES_NO, SPEED, "whether cores run several threads at once"),
        "cpu_allowed": (k.COUNT, SPEED, "hardware threads that this process may run on"),
        "cpu_isolated": (k.TEXT, SPEED, "hardware threads that only get what is put on them"),
        "cpu_flags": (k.NAMES, BOTH, "instruction sets that decide how fast matrices multiply"),
        "cpu_caches_bytes": (k.SIZES, SPEED, "size of one cache of each level"),
        "cpu_max_mhz": (k.MHZ, SPEED, "highest clock"),
        "cpu_limits_mhz": (k.CLOCKS, SPEED, "lowest and highest clock that are allowed"),
        "cpu_driver": (k.TEXT, SPEED, "driver that sets the clock"),
        "cpu_governor": (k.TEXT, SPEED, "policy that sets the clock"),
        "cpu_energy_preference": (k.TEXT, SPEED, "what the processor weighs speed against"),
        "cpu_turbo": (k.YES_NO, SPEED, "whether clocks above the nominal one are allowed"),
        "power_profile": (k.TEXT, SPEED, "profile of speed and heat that the firmware follows"),
        "cpu_microcode": (k.TEXT, SPEED, "revision of the processor's microcode"),
        "cpu_mitigations": (k.PAIRS, SPEED, "what is done about its vulnerabilities"),
        "numa_nodes": (k.COUNT, SPEED, "memory nodes"),
        "numa_balancing": (k.YES_NO, SPEED, "whether pages move to the node that uses them"),
        "cgroup_cpus": (k.CPUS, SPEED, "limit of CPU time that a container sets"),
    },
    "Memory": {
        "ram_bytes": (k.BYTES, SPEED, "memory of the machine"),
        "ram_type": (k.TEXT, SPEED, "kind of its modules"),
        "ram_modules": (k.COUNT, SPEED, "modules that are plugged in"),
        "ram_speed_mt_per_s": (k.TRANSFERS, SPEED, "transfers per second of the slowest module"),
        "swap_bytes": (k.BYTES, NOTHING, "swap space"),
        "swappiness": (k.COUNT, NOTHING, "how readily memory is swapped out"),
        "overcommit": (k.TEXT, NOTHING, "whether more memory is promised than there is"),
        "page_bytes": (k.BYTES, SPEED, "size of a page"),
        "huge_pages": (k.TEXT, SPEED, "when memory is backed by huge pages"),
        "huge_pages_defrag": (k.TEXT, SPEED, "when memory is moved to make huge pages"),
        "huge_pages_reserved": (k.COUNT, NOTHING, "huge pages that are set aside"),
        "cgroup_memory_bytes": (k.BYTES, NOTHING, "limit of memory that a container sets"),
    },
    "System": {
        "os": (k.TEXT, NOTHING, "operating system"),
        "kernel": (k.TEXT, SPEED, "release of the kernel"),
        "kernel_build": (k.TEXT, NOTHING, "how the kernel was built"),
        "kernel_switches": (k.NAMES, SPEED, "what the kernel was started with that matters here"),
        "virtualisation": (k.TEXT, SPEED, "whether this is a virtual machine"),
        "container": (k.TEXT, NOTHING, "what kind of container this runs in"),
        "aslr": (k.TEXT, NOTHING, "which addresses are chosen at random"),
        "clock_source": (k.TEXT, SPEED, "what the system reads the time from"),
        "nice": (k.COUNT, SPEED, "priority of the process: the higher, the later"),
    },
    "GPU": {
        "devices": (k.NAMES, NOTHING, "devices that strategies may name here"),
        "gpus": (k.OBJECTS, SPEED, "NVIDIA GPUs of the machine"),
        "gpu_driver": (k.TEXT, SPEED, "release of the NVIDIA driver"),
        "gpu_cuda": (k.TEXT, NOTHING, "newest CUDA that the driver supports"),
        "apple_gpu_cores": (k.COUNT, SPEED, "cores of an Apple GPU"),
    },
    "Provenance": {
        "provenance": (
            *(k.TEXT, NOTHING),
            "where Python and its packages come from: nix, venv, conda or system",
        ),
        "nix_interpreter": (k.TEXT, NOTHING, "store path of the interpreter's environment"),
        "nix_package": (k.TEXT, NOTHING, "store path of the harness"),
        "nixpkgs_rev": (k.TEXT, NOTHING, "revision of nixpkgs"),
        "nixpkgs_nar_hash": (k.TEXT, NOTHING, "hash of the content of nixpkgs"),
        "flake_lock_sha256": (k.HASH, NOTHING, "hash of flake.lock"),
        "constraints": (k.TEXT, NOTHING, "file that fixed the environment's versions"),
        "constraints_sha256": (k.HASH, NOTHING, "hash of that file when it did"),
        "distributions": (k.PAIRS, NOTHING, "installed distributions and their versions"),
        "distributions_sha256": (k.HASH, NOTHING, "hash of all their names and versions"),
        "distributions_outside": (
            *(k.NAMES, NOTHING),
            "distributions found outside the closure or the environment",
        ),
    },
    "Software": {
        "arch": (k.TEXT, BOTH, "architecture that Python was built for"),
        "libc": (k.TEXT, SPEED, "C library"),
        "python": (k.TEXT, SPEED, "implementation and version of Python"),
        "python_compiler": (k.TEXT, SPEED, "compiler that built Python"),
        "python_switches": (k.PAIRS, SPEED, "how Python was built and started"),
        "harness": (k.TEXT, BOTH, "version of the harness"),
        "torch": (k.TEXT, BOTH, "version of PyTorch, with its build"),
        "torch_git": (k.TEXT, BOTH, "commit of PyTorch"),
        "torch_debug": (k.YES_NO, SPEED, "whether PyTorch was built for debugging"),
        "torch_cuda": (k.TEXT, BOTH, "CUDA that PyTorch was built with"),
        "torch_hip": (k.TEXT, BOTH, "HIP that PyTorch was built with"),
        "numpy": (k.TEXT, SPEED, "version of NumPy"),
        "tokenizers": (k.TEXT, ANSWERS, "version of tokenizers"),
        "safetensors": (k.TEXT, NOTHING, "version of safetensors"),
        "compilers": (k.PAIRS, NOTHING, "compilers that are installed"),
        "env": (k.PAIRS, BOTH, "environment variables that change what is computed, or how fast"),
        "git_revision": (k.TEXT, BOTH, "commit of the harness"),
        "git_dirty": (k.YES_NO, BOTH, "whether tracked files differ from that commit"),
    },
    "Engine": {
        "rwkv": (k.TEXT, BOTH, "version of the official rwkv package"),
        "rwkv_switches": (k.PAIRS, BOTH, "what that package runs with"),
        "torch_compiler": (k.TEXT, BOTH, "compiler that built PyTorch"),
        "torch_cxx_flags": (k.NAMES, BOTH, "its flags that decide how numbers are computed"),
        "torch_build": (k.PAIRS, BOTH, "what PyTorch was built with"),
        "torch_backends": (k.NAMES, BOTH, "libraries that PyTorch can call"),
        "torch_cpu_capability": (k.TEXT, BOTH, "instruction set that PyTorch's kernels use"),
        "torch_blas": (k.TEXT, BOTH, "library that multiplies its matrices"),
        "torch_mkl": (k.TEXT, BOTH, "version of MKL in it"),
        "torch_onednn": (k.TEXT, BOTH, "version of oneDNN in it"),
        "torch_openmp": (k.TEXT, BOTH, "version of OpenMP in it"),
        "torch_cudnn": (k.TEXT, BOTH, "version of cuDNN in it"),
        "torch_cuda_archs": (k.NAMES, BOTH, "GPU generations that it has code for"),
        "torch_switches": (k.PAIRS, BOTH, "its precision, determinism and compiler switches"),
        "parallel_backend": (k.TEXT, BOTH, "what splits an operation among threads"),
        "threads_in_force": (k.COUNT, BOTH, "threads that one operation is split among, read back"),
        "interop_threads": (k.COUNT, SPEED, "operations that may run side by side"),
        "omp_max_threads": (k.COUNT, BOTH, "threads that OpenMP would use"),
        "omp_thread_limit": (k.COUNT, BOTH, "most threads that OpenMP may use"),
        "mkl_max_threads": (k.COUNT, BOTH, "threads that MKL would use"),
    },
    "Study and engine": {
        "threads": (k.COUNT, BOTH, "threads that the study asks for"),
        "weights_sha256": (k.HASH, BOTH, "hash of the model's weights"),
        "tokenizer_sha256": (k.HASH, ANSWERS, "hash of the tokenizer"),
        "questions_sha256": (k.HASH, ANSWERS, "hash of the questions"),
        "study_sha256": (k.HASH, NOTHING, "hash of the study"),
        "weights_disk": (k.TEXT, LOADING, "kind of disk that the weights were read from"),
        "weights_file_system": (k.TEXT, LOADING, "file system that the weights were read from"),
    },
}
GROUPS = tuple(_GROUPS)  # in the order in which they are shown
ENGINE, OF_STUDY = "Engine", "Study and engine"  # groups that the machine does not have by itself


def _members(name: str, group: str) -> Mapping[str, About]:
    rows = _GPU if name == "gpus" else {}
    return {member: About(group, *row) for member, row in rows.items()}


FACTS: Mapping[str, About] = {
    name: About(group, *row, _members(name, group))
    for group, rows in _GROUPS.items()
    for name, row in rows.items()
}
MACHINE_GROUPS = tuple(group for group in GROUPS if group not in (ENGINE, OF_STUDY))
MACHINE_FACTS = tuple(name for name, about in FACTS.items() if about.group in MACHINE_GROUPS)
ENGINE_FACTS = tuple(name for name, about in FACTS.items() if about.group == ENGINE)


def about(name: str) -> About | None:
    """What is declared of a fact, also by a dotted name: `env.OMP_NUM_THREADS`, `gpus.0.ecc`.

    None where nothing is: facts that a later version, or another engine, recorded.
    """
    first, _, rest = name.partition(".")
    found = FACTS.get(first)
    if found is None or not rest:
        return found
    if found.members:
        return found.members.get(rest.partition(".")[2])
    return found._replace(kind=found.kind.of or k.ANY)


def shown(name: str, value: object) -> str:
    """A fact's value as its declaration prints it."""
    found = about(name)
    return (k.ANY if found is None else found.kind).text(value)
