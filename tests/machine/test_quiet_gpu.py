"""GPUs while they work: NVML's answers, made up here."""

from types import SimpleNamespace

import pytest

from harness.machine.facts import NotKnown
from harness.machine.quiet import Probes
from harness.machine.quiet.gpu import Gpus
from tests.machine.fake_nvml import NVMLError, no_bindings, nvml

WORKER = 50
POWER_LIMIT, HEAT = 0x4, 0x40


def not_supported(*_):
    raise NVMLError("Not Supported")


def working(mhz=1755, celsius=60, milliwatts=350_000, reasons=0, pids=()):
    """NVML as on a machine with one GPU that works."""
    return nvml(
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetClockInfo=lambda *_: mhz,
        nvmlDeviceGetTemperature=lambda *_: celsius,
        nvmlDeviceGetPowerUsage=lambda _: milliwatts,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda _: reasons,
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=pid) for pid in pids],
    )


def seen(root, *moments):
    """What the moments tell, each another state of NVML, to one source."""
    source = Gpus(moments[0], root, [0])
    readings = []
    for moment in moments:
        source._nvml = moment
        readings.append(source.read(WORKER))
    return source.tell(readings, 2.0)


def test_clock_heat_and_power_of_each_gpu(tmp_path):
    figures = seen(
        tmp_path,
        working(mhz=1000, celsius=40, milliwatts=100_000),
        working(mhz=1800, celsius=70, milliwatts=300_000, reasons=POWER_LIMIT),
        working(mhz=1700, celsius=65, milliwatts=200_000),
    )
    assert figures["gpus"] == [
        {
            "index": 0,
            "name": "NVIDIA H100 80GB HBM3",
            "sm_min_mhz": 1000,
            "sm_median_mhz": 1700,
            "max_celsius": 70,
            "mean_watts": 200.0,
            "slowed_by": ["power limit"],
        }
    ]
    assert figures["gpu_throttle_share"] == 0.0  # its own limit is how a card is meant to run


def test_heat_slows_a_gpu_down(tmp_path):
    figures = seen(tmp_path, working(), working(reasons=HEAT | POWER_LIMIT))
    assert figures["gpu_throttle_share"] == 0.5
    assert figures["gpus"][0]["slowed_by"] == ["power limit", "heat, by the hardware"]


def test_newer_bindings_ask_by_another_name(tmp_path):
    renamed = working(reasons=HEAT)
    ask = vars(renamed).pop("nvmlDeviceGetCurrentClocksThrottleReasons")
    renamed.nvmlDeviceGetCurrentClocksEventReasons = ask
    assert seen(tmp_path, renamed, renamed)["gpu_throttle_share"] == 1.0


def test_a_process_that_was_there_before_is_a_stranger(tmp_path):
    figures = seen(tmp_path, working(pids=[7]), working(pids=[7, WORKER]))
    assert figures["foreign_gpu_processes"] == 1


def test_the_worker_and_what_it_starts_are_none(make_root):
    root = make_root({f"proc/{WORKER}/task/{WORKER}/children": "51"})
    figures = seen(root, working(), working(pids=[WORKER, 51]))
    assert figures["foreign_gpu_processes"] == 0


def test_in_a_container_the_one_that_comes_is_the_worker(tmp_path):
    """There NVML names processes by the host's numbers."""
    assert seen(tmp_path, working(), working(pids=[4711]))["foreign_gpu_processes"] == 0
    two = seen(tmp_path, working(), working(pids=[4711, 4712]))
    assert two["foreign_gpu_processes"] == 1
    both = seen(tmp_path, working(pids=[7]), working(pids=[7, 4711]))
    assert both["foreign_gpu_processes"] == 1


def test_what_a_card_does_not_say_is_none_and_not_zero(tmp_path):
    mute = working()
    for name in vars(mute):
        if name.startswith("nvmlDeviceGet") and name not in (
            "nvmlDeviceGetCount",
            "nvmlDeviceGetHandleByIndex",
            "nvmlDeviceGetName",
        ):
            setattr(mute, name, not_supported)
    figures = seen(tmp_path, mute, mute)
    (gpu,) = figures["gpus"]
    assert gpu["sm_min_mhz"] is None
    assert gpu["mean_watts"] is None
    assert figures.keys() == {"gpus"}


def test_a_driver_that_fails_is_not_known(tmp_path):
    lost = nvml(nvmlDeviceGetHandleByIndex=not_supported)
    with pytest.raises(NotKnown, match="NVML: Not Supported"):
        Gpus(lost, tmp_path, [0]).read(WORKER)


def why(probes):
    """Why there is nothing of GPUs."""
    source = next(one for one in probes.sources(gpus=None) if "gpus" in one.figures)
    with pytest.raises(NotKnown) as stop:
        source.read(WORKER)
    return str(stop.value)


def test_without_driver_bindings_or_need(make_root):
    assert "no NVIDIA driver" in why(Probes(make_root({}), platform="linux", load=no_bindings))
    root = make_root({"proc/driver/nvidia/version": ""})
    assert "extra: cuda" in why(Probes(root, platform="linux", load=no_bindings))
    broken = nvml(nvmlInit=not_supported)
    assert "NVML: Not Supported" in why(Probes(root, platform="linux", load=lambda: broken))
    unused = Probes(root, platform="linux", load=working).sources(gpus=())
    with pytest.raises(NotKnown, match="uses no NVIDIA GPU"):
        next(one for one in unused if "gpus" in one.figures).read(WORKER)


def test_nvml_is_opened_once_for_a_run(make_root):
    opened = []
    bindings = working()
    bindings.nvmlInit = lambda: opened.append(True)
    root = make_root({"proc/driver/nvidia/version": ""})
    probes = Probes(root, platform="linux", load=lambda: bindings)
    for _ in range(3):
        source = next(one for one in probes.sources(gpus=None) if "gpus" in one.figures)
        assert source.read(WORKER)[0].sm_mhz == 1755
    assert opened == [True]


def test_only_the_gpus_that_a_trial_uses_are_looked_at(make_root):
    """Somebody else's work on another card of a shared server does not disturb it."""
    on = {0: [SimpleNamespace(pid=7)], 1: [], 2: [SimpleNamespace(pid=8), SimpleNamespace(pid=9)]}
    bindings = working()
    bindings.nvmlDeviceGetCount = lambda: 3
    bindings.nvmlDeviceGetUUID = lambda number: f"GPU-{number}"
    bindings.nvmlDeviceGetComputeRunningProcesses = on.get
    root = make_root({"proc/driver/nvidia/version": ""})

    def strangers(gpus, visible=None):
        environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        probes = Probes(root, platform="linux", environ=environ, load=lambda: bindings)
        source = next(one for one in probes.sources(gpus=gpus) if "gpus" in one.figures)
        figures = source.tell([source.read(WORKER)] * 2, 2.0)
        return [one["index"] for one in figures["gpus"]], figures["foreign_gpu_processes"]

    assert strangers({"cuda:1"}) == ([1], 0)
    assert strangers({"cuda:0", "cuda:1"}) == ([0, 1], 1)
    assert strangers({"cuda:0"}, visible="2,1") == ([2], 2)
    assert strangers(None, visible="1") == ([0, 1, 2], 2)
    with pytest.raises(NotKnown, match="NVML does not know cuda:1"):
        strangers({"cuda:1"}, visible="1")


def test_the_worst_of_several_gpus_is_held_against_the_limits(tmp_path):
    """One is slowed down, the other is not."""
    bindings = working()
    bindings.nvmlDeviceGetCurrentClocksThrottleReasons = {0: 0, 1: HEAT}.get
    source = Gpus(bindings, tmp_path, [0, 1])
    assert source.tell([source.read(WORKER)] * 2, 2.0)["gpu_throttle_share"] == 1.0
