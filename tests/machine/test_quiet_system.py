"""Swap, stalls, limits, clocks, heat and power of Linux, from recorded text."""

import pytest

from harness.machine.facts import NotKnown
from harness.machine.quiet.clocks import Battery, Clock, Temperature, Throttling
from harness.machine.quiet.pressure import (
    Pressure,
    Quota,
    Swap,
    parse_cpu_stat,
    parse_pressure,
    parse_vmstat,
)

CPU = "sys/devices/system/cpu"
PRESSURE = (
    "some avg10=2.00 avg60=3.19 avg300=18.74 total={some}\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
)
VMSTAT = "nr_free_pages 123\npswpin {pages}\npswpout 7\noom_kill 0\n"


def twice(source, change):
    """Two readings, with what changes between them."""
    first = source.read(1)
    change()
    return [first, source.read(1)]


def test_pages_of_swap():
    assert parse_vmstat(VMSTAT.format(pages=12)) == (12, 7)


def test_swapping_in_bytes(make_root):
    source = Swap(make_root({"proc/vmstat": VMSTAT.format(pages=10)}), page_bytes=4096)
    readings = twice(source, lambda: make_root({"proc/vmstat": VMSTAT.format(pages=14)}))
    assert source.tell(readings, 1.0) == {"swap_in_bytes": 16384, "swap_out_bytes": 0}


def test_a_kernel_without_swap_says_nothing(make_root):
    with pytest.raises(NotKnown, match="not understood"):
        Swap(make_root({"proc/vmstat": "nr_free_pages 123\n"})).read(1)


def test_microseconds_of_pressure():
    assert parse_pressure(PRESSURE.format(some=8881402791)) == 8881402791


@pytest.mark.parametrize("resource", ["cpu", "memory", "io"])
def test_stalls_are_a_share_of_the_time(resource, make_root):
    path = f"proc/pressure/{resource}"
    source = Pressure(make_root({path: PRESSURE.format(some=1000)}), resource)
    readings = twice(source, lambda: make_root({path: PRESSURE.format(some=501000)}))
    assert source.tell(readings, 2.0) == {f"{resource}_stall_share": pytest.approx(0.25)}
    with pytest.raises(NotKnown, match="too short"):
        source.tell(readings, 0.2)


def test_a_kernel_without_pressure(make_root):
    with pytest.raises(NotKnown, match="/proc/pressure/io"):
        Pressure(make_root({}), "io").read(1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n", 1.5),  # version 2
        ("nr_periods 9\nnr_throttled 3\nthrottled_time 2500000000\n", 2.5),  # version 1
    ],
)
def test_time_that_a_limit_took(text, seconds):
    assert parse_cpu_stat(text) == seconds


@pytest.mark.parametrize(
    ("cgroup", "path"),
    [
        ("0::/jobs/one\n", "sys/fs/cgroup/jobs/one/cpu.stat"),
        ("0::/jobs/one\n", "sys/fs/cgroup/cpu.stat"),  # in a container, only the mount is in sight
        ("1:cpu:/\n0::/\n", "sys/fs/cgroup/cpu/cpu.stat"),
    ],
)
def test_the_limit_of_our_own_cgroup(cgroup, path, make_root):
    root = make_root({"proc/self/cgroup": cgroup, path: "throttled_usec 0\n"})
    source = Quota(root)
    readings = twice(source, lambda: make_root({path: "throttled_usec 500000\n"}))
    assert source.tell(readings, 5.0) == {"cpu_quota_share": pytest.approx(0.1)}


def test_a_cgroup_that_counts_nothing(make_root):
    root = make_root({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": "usage_usec 5\n"})
    with pytest.raises(NotKnown, match="no cgroup"):
        Quota(root).read(1)


def clocks(make_root, *khz):
    return make_root(
        {f"{CPU}/cpufreq/policy{i}/scaling_cur_freq": f"{one}\n" for i, one in enumerate(khz)}
    )


def test_the_clock_of_the_core_that_works(make_root):
    source = Clock(clocks(make_root, 800_000, 3_500_000))
    readings = twice(source, lambda: clocks(make_root, 2_900_000, 900_000))
    figures = source.tell([*readings, [3000.0]], 2.0)
    assert figures == {"cpu_min_mhz": 2900.0, "cpu_median_mhz": 3000.0}


def test_of_a_large_machine_not_every_clock_is_read(make_root):
    readings = Clock(clocks(make_root, *range(1000, 41000, 1000))).read(1)
    assert 10 <= len(readings) <= 16


def test_a_virtual_machine_tells_no_clock(make_root):
    with pytest.raises(NotKnown, match="virtual"):
        Clock(make_root({})).read(1)


def throttled(make_root, cores, package):
    files = {}
    for at, count in enumerate(cores):
        folder = f"{CPU}/cpu{at}/thermal_throttle"
        files |= {f"{folder}/core_throttle_count": f"{count}\n"}
        files |= {f"{folder}/package_throttle_count": f"{package}\n"}
    return make_root(files)


def test_throttling_counts_each_core_and_the_package_once(make_root):
    source = Throttling(throttled(make_root, [1, 2], package=10))
    readings = twice(source, lambda: throttled(make_root, [3, 2], package=11))
    assert source.tell(readings, 1.0) == {"throttle_events": 3}


def test_without_counters_of_throttling(make_root):
    with pytest.raises(NotKnown, match="no counters"):
        Throttling(make_root({})).read(1)


@pytest.mark.parametrize(
    "files",
    [
        {
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "99000\n",
            "sys/class/hwmon/hwmon1/name": "coretemp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "{milli}\n",
            "sys/class/hwmon/hwmon1/temp2_input": "20000\n",
        },
        {
            "sys/class/thermal/thermal_zone0/type": "acpitz\n",
            "sys/class/thermal/thermal_zone0/temp": "99000\n",
            "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
            "sys/class/thermal/thermal_zone1/temp": "{milli}\n",
        },
    ],
    ids=["hwmon", "thermal zones"],
)
def test_the_temperature_is_the_processors(files, make_root):
    def warm(milli):
        return make_root({path: text.format(milli=milli) for path, text in files.items()})

    source = Temperature(warm(45000))
    readings = twice(source, lambda: warm(72500))
    readings.append(60.0)
    assert source.tell(readings, 2.0) == {"cpu_first_celsius": 45.0, "cpu_max_celsius": 72.5}


def test_without_a_sensor(make_root):
    with pytest.raises(NotKnown, match="no sensor"):
        Temperature(make_root({})).read(1)


def supplies(make_root, **supply):
    """A battery `BAT0` and mains `AC`, as far as they are given."""
    files = {}
    for name, fields in supply.items():
        files |= {f"sys/class/power_supply/{name}/{k}": f"{v}\n" for k, v in fields.items()}
    return make_root(files)


@pytest.mark.parametrize(
    ("mains", "status", "on_battery"),
    [("1", "Charging", False), ("0", "Discharging", True), ("1", "Discharging", False)],
)
def test_where_the_power_comes_from(mains, status, on_battery, make_root):
    root = supplies(
        make_root,
        AC={"type": "Mains", "online": mains},
        BAT0={"type": "Battery", "status": status},
    )
    source = Battery(root)
    assert source.read(1) is on_battery
    assert source.tell([True, False], 1.0) == {"battery_share": 0.5}


def test_a_machine_without_battery_and_mains_does_not_say(make_root):
    with pytest.raises(NotKnown):
        Battery(make_root({})).read(1)
    with pytest.raises(NotKnown, match="neither"):
        Battery(supplies(make_root, UPS={"type": "UPS"})).read(1)


def test_a_charger_at_a_usb_port_is_mains(make_root):
    battery = {"type": "Battery", "status": "Discharging"}
    root = supplies(make_root, BAT0=battery, port={"type": "USB", "online": "1"})
    assert Battery(root).read(1) is False


def test_a_battery_that_is_full_without_mains_is_not_emptied(make_root):
    assert Battery(supplies(make_root, BAT0={"type": "Battery", "status": "Full"})).read(1) is False


def test_the_battery_of_a_mouse_is_not_the_machines(make_root):
    mouse = {"type": "Battery", "status": "Discharging", "scope": "Device"}
    with pytest.raises(NotKnown, match="neither"):
        Battery(supplies(make_root, hid=mouse)).read(1)
    root = supplies(make_root, BAT0={"type": "Battery", "status": "Charging"}, hid=mouse)
    assert Battery(root).read(1) is False


def test_a_share_is_never_more_than_all(make_root):
    """Time is counted a little past the end."""
    source = Pressure(make_root({}), "cpu")
    assert source.tell([0.0, 2.1], 2.0) == {"cpu_stall_share": 1.0}
