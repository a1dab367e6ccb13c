"""The firmware's table of memory modules: what is read of it, and what is left alone."""

from __future__ import annotations

import pytest

from harness.machine.facts import NotKnown
from harness.machine.memory_modules import Module, module_facts, parse_modules

TABLE = "sys/firmware/dmi/tables/DMI"
END = bytes([127, 4, 0, 0, 0, 0])


@pytest.fixture
def table(recorded):
    return bytes.fromhex(recorded("smbios-four-modules.hex"))


@pytest.fixture
def facts_of(tmp_path):
    def made(table):
        path = tmp_path / TABLE
        path.parent.mkdir(parents=True)
        path.write_bytes(table)
        return module_facts(tmp_path)

    return made


def test_modules_that_are_plugged_in(table):
    at_full_speed = Module(type="DDR4", mt_per_s=3200)
    slowed = Module(type="DDR4", mt_per_s=2933)  # configured below what it can do
    assert parse_modules(table) == [slowed, *[at_full_speed] * 3]


def test_the_slowest_counts_and_no_serial_number_is_kept(table, facts_of):
    assert b"SERIAL-1100" in table
    assert facts_of(table) == {
        "ram_type": "DDR4",
        "ram_modules": 4,
        "ram_speed_mt_per_s": 2933,
    }


def test_without_a_type_or_a_speed_the_number_is_still_known(facts_of):
    device = bytearray(0x1B)
    device[0], device[1], device[0x0C], device[0x12] = 17, 0x1B, 16, 2
    facts = facts_of(bytes(device) + b"\0\0" + END)
    silent = {"unavailable": "the firmware does not say"}
    assert facts == {"ram_type": silent, "ram_modules": 1, "ram_speed_mt_per_s": silent}


@pytest.mark.parametrize(
    "broken", [b"", END, b"\x11", b"\x11\x02\0\0\0\0", b"\x11\x0e" + b"\x01" * 12 + b"\0\0" + END]
)
def test_a_broken_table_is_a_reason(broken, facts_of):
    facts = facts_of(broken)
    assert {one["unavailable"].startswith(f"/{TABLE} is not understood") for one in facts.values()}
    assert len(facts) == 3


def test_a_table_that_breaks_off_gives_what_came_before(table):
    end = table.index(b"SERIAL-1101")
    assert len(parse_modules(table[:end])) == 2
    with pytest.raises(NotKnown):
        parse_modules(table[:20])


def test_who_may_not_read_it_is_told_who_may(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    reason = module_facts(tmp_path)["ram_speed_mt_per_s"]["unavailable"]
    assert reason == f"/{TABLE}: Permission denied, only root may read it"
