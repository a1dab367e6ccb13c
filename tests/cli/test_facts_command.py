"""`facts`: everything in groups within 80 columns, or as JSON."""

import json
import re
import subprocess
import sys

import pytest

from harness.cli.main import main
from harness.machine import Machine
from harness.machine.declared import ENGINE_FACTS, FACTS, MACHINE_FACTS, MACHINE_GROUPS
from harness.machine.facts import unavailable

STORE = f"/nix/store/{'a1' * 16}-python3-3.10.13-env"
NIX = "not from the Nix store"
DISTRIBUTIONS = {
    **{f"package-{n}": f"{n}.0" for n in range(60)},
    "a-package-with-quite-a-long-name": "2.0.1+cu118",
}
SHOWN = {
    "cpu_model": "Fabricated CPU at 3 GHz",
    "cpu_flags": ["avx2", "fma"],
    "cpu_caches_bytes": {"L1d": 48 * 2**10, "L2": 2**20},
    "cpu_max_mhz": 3800.0,
    "cpu_limits_mhz": {"lowest": 800.0, "highest": 3800.0},
    "cpu_mitigations": {"spectre_v2": "Mitigation: IBRS"},
    "nice": 0,
    "ram_bytes": 24 * 2**30,
    "swap_bytes": 0,
    "gpus": [
        {
            "name": "H100",
            "memory_bytes": 80 * 2**30,
            "max_sm_mhz": 1980,
            "ecc": True,
            "power_limit_w": 700.0,
            "of_a_later_version": 1,
        },
        {"name": "A10", "memory_bytes": 24 * 2**30, "ecc": unavailable("Not Supported")},
    ],
    "provenance": "venv",
    "nix_interpreter": STORE,
    "nixpkgs_rev": unavailable(NIX),
    "flake_lock_sha256": unavailable(NIX),
    "constraints_sha256": "0123456789abcdef" * 4,
    "distributions": DISTRIBUTIONS,
    "distributions_sha256": "fedcba9876543210" * 4,
    "distributions_outside": [],
    "env": {"OMP_NUM_THREADS": "2"},
    "git_dirty": False,
}


@pytest.fixture
def shown(capsys, monkeypatch):
    """What `facts` prints of a machine with these facts, the others being unavailable."""

    def run(facts, *options):
        every = {name: facts.get(name, unavailable("not looked for")) for name in MACHINE_FACTS}
        machine = Machine(
            label="fake-1a2b3c", accelerators=(), cores=None, ram_bytes=None, facts=every
        )
        monkeypatch.setattr("harness.machine.probe_machine", lambda: machine)
        with pytest.raises(SystemExit) as stop:
            main(["facts", *options])
        assert stop.value.code == 0
        return capsys.readouterr().out

    return run


def row(text, name):
    """The value beside a name."""
    (line,) = [line for line in text.splitlines() if line.split(" ")[0] == name]
    return line[len(name) :].strip()


def test_every_fact_stands_in_its_group_within_80_columns(shown):
    text = shown(SHOWN)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line in MACHINE_GROUPS] == list(MACHINE_GROUPS)
    group, at = None, {}
    for line in lines:
        group = line if line in MACHINE_GROUPS else group
        at.setdefault(line.split(" ")[0], group)
    listed = [name for name in MACHINE_FACTS if name != "distributions_sha256"]
    assert {name: at.get(name) for name in listed} == {n: FACTS[n].group for n in listed}
    assert "fake-1a2b3c" in lines[0]
    assert lines[-1] == "Next: python -m harness plan builtin:quickstart"


@pytest.mark.parametrize(
    "name, value",
    [
        ("cpu_model", "Fabricated CPU at 3 GHz"),
        ("cpu_flags", "avx2, fma"),
        ("cpu_caches_bytes", "L1d 48.0 KiB, L2 1.00 MiB"),
        ("cpu_max_mhz", "3,800 MHz"),
        ("cpu_limits_mhz", "lowest 800 MHz, highest 3,800 MHz"),
        ("cpu_mitigations", "spectre_v2=Mitigation: IBRS"),
        ("nice", "0"),
        ("ram_bytes", "24.0 GiB"),
        ("swap_bytes", "0 B"),
        ("constraints_sha256", "0123456789abcdef…"),
        ("distributions", "61 distributions, sha256 fedcba9876543210…"),
        ("distributions_outside", "none"),
        ("env", "OMP_NUM_THREADS=2"),
        ("git_dirty", "no"),
    ],
)
def test_values_are_readable(name, value, shown):
    assert row(shown(SHOWN), name) == value


def test_a_long_value_is_shown_whole(shown):
    assert STORE in shown(SHOWN).replace("\n", "").replace(" ", "")


def test_each_gpu_has_a_line(shown):
    (text,) = re.findall(r"\ngpus(.*?)\ngpu_driver", shown(SHOWN), re.DOTALL)
    first, second = re.findall(r"name .*?(?= name|$)", " ".join(text.split()))
    assert first == (
        "name H100, memory 80.0 GiB, max_sm 1,980 MHz, ecc yes, power_limit 700 W, "
        "of_a_later_version 1"
    )
    assert second.startswith("name A10, memory 24.0 GiB, ecc – [")
    assert "\n                       name A10" in text


def test_what_is_missing_has_one_footnote_per_reason(shown):
    text = shown(SHOWN)
    mark = row(text, "nixpkgs_rev")
    assert mark == row(text, "flake_lock_sha256")
    assert mark.startswith("– [")
    assert f"\n{mark.removeprefix('– ')} {NIX}\n" in text
    assert text.count(NIX) == 1
    assert row(text, "torch") != mark


def test_the_distributions_are_listed_in_columns(shown):
    text = shown(SHOWN).split("Installed distributions\n")[1].split("\n\n")[0]
    for name, version in DISTRIBUTIONS.items():
        assert f"{name} {version}" in text
    assert len(text.splitlines()) < len(DISTRIBUTIONS)


def test_a_machine_that_says_nothing_is_one_footnote(shown):
    text = shown({})
    assert text.count("not looked for") == 1
    assert "Installed distributions" not in text
    assert row(text, "distributions") == "– [1]"


def test_json_has_the_facts_as_records_have_them(shown):
    facts = json.loads(shown(SHOWN, "--json"))
    assert list(facts) == list(MACHINE_FACTS)
    assert {name: facts[name] for name in SHOWN} == SHOWN


def test_an_engine_is_asked_where_it_is_named(shown):
    assert "\nEngine\n" not in shown(SHOWN)
    text = shown(SHOWN, "--engine", "fake")
    mark = row(text, "threads_in_force")
    assert f"\n{mark.removeprefix('– ')} the fake engine does not say\n" in text
    assert max(map(len, text.splitlines())) <= 80
    facts = json.loads(shown(SHOWN, "--engine", "torch", "--json"))
    assert list(facts)[: len(MACHINE_FACTS)] == list(MACHINE_FACTS)
    assert set(ENGINE_FACTS) <= set(facts)
    assert facts["threads_in_force"] >= 1


def test_with_the_probes_off_no_engine_is_asked(shown, monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    facts = json.loads(shown({}, "--engine", "torch", "--json"))
    assert all("switched off" in facts[name]["unavailable"] for name in ENGINE_FACTS)


def test_an_unknown_engine_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["facts", "--engine", "abacus"])
    assert stop.value.code == 2
    assert "unknown engine 'abacus'" in capsys.readouterr().err


def test_it_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; from harness.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "facts", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["provenance"] in ("nix", "venv", "conda", "system")
    assert facts["distributions"]["numpy"] == facts["numpy"]
