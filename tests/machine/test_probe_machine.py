import json
import subprocess
import sys

import pytest
from fake_nvml import no_bindings, nvml

from harness.machine import Accelerator, probe_machine
from harness.machine.declared import MACHINE_FACTS


def test_a_server_as_a_whole(server):
    machine = probe_machine(server, platform="linux", environ={}, load=nvml)
    assert machine.label.startswith("intel-xeon-platinum-8481c-h100-80gb-hbm3-")
    assert machine.accelerators == (
        Accelerator(device="cuda:0", name="NVIDIA H100 80GB HBM3", memory_bytes=85520809984),
    )
    assert machine.cores == 2
    assert machine.ram_bytes == 8 * 2**30  # the container's limit, below the RAM
    assert list(machine.facts) == list(MACHINE_FACTS)
    assert machine.facts["devices"] == ["cpu", "cuda:0"]
    assert machine.facts["apple_gpu_cores"] == {"unavailable": "Linux does not have it"}


def test_the_label_does_not_hang_on_what_a_process_may_use(server):
    whole = probe_machine(server, platform="linux", environ={}, load=nvml)
    hidden = probe_machine(
        server, platform="linux", environ={"CUDA_VISIBLE_DEVICES": ""}, load=no_bindings
    )
    assert hidden.accelerators == ()
    assert hidden.label == whole.label


def test_facts_are_plain_json_without_names_of_hosts_and_users(server):
    environ = {"USER": "alice", "HOSTNAME": "secret-host", "OMP_NUM_THREADS": "2"}
    facts = probe_machine(server, platform="linux", environ=environ, load=nvml).facts
    text = json.dumps(facts)
    assert json.loads(text) == facts
    assert "alice" not in text
    assert "secret-host" not in text


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_machine_that_says_nothing(tmp_path, platform):
    machine = probe_machine(tmp_path, platform=platform, environ={}, load=no_bindings)
    assert (machine.cores, machine.ram_bytes, machine.accelerators) == (None, None, ())
    assert "unavailable" in machine.facts["cpu_model"]


def test_with_all_probes_off_everything_is_unavailable(monkeypatch):
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    machine = probe_machine()
    assert list(machine.facts) == list(MACHINE_FACTS)
    assert all(value.keys() == {"unavailable"} for value in machine.facts.values())
    assert (machine.label, machine.accelerators, machine.cores) == ("unknown", (), None)


def test_this_machine():
    machine = probe_machine()
    assert machine.ram_bytes is None or machine.ram_bytes > 2**28
    assert machine.facts["python"].startswith("CPython 3.")


def test_torch_is_not_imported_and_no_shell_asked():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from harness.machine import probe_machine, peak_rss_bytes, rss_bytes\n"
        "probe_machine(); rss_bytes(); peak_rss_bytes()\n"
        "assert 'numpy' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
