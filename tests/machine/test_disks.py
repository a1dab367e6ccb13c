"""The disk and the file system below a file, from what Linux and macOS say."""

import plistlib

import pytest

from harness.machine.disks import (
    NAMES,
    parse_diskutil,
    parse_mountinfo,
    parse_mounts,
    weights_disk_facts,
)
from harness.machine.facts import NotKnown

MOUNTINFO = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 0:25 / /dev/shm rw,nosuid - tmpfs tmpfs rw
40 22 8:1 / /mnt/my\040disk rw - ext4 /dev/sda1 rw
41 22 0:44 /@home /home rw master:2 - btrfs /dev/mapper/vault rw
42 22 0:60 / /net rw - nfs4 server:/export rw
43 22 0:61 / /over rw - overlay overlay rw,lowerdir=/x
44 22 254:0 / /cloud rw - xfs /dev/vda rw
45 22 0:70 / /cloud rw - zfs tank rw
""".lstrip()
MOUNTS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//me@nas/share on /Volumes/My Share (smbfs, nodev, nosuid)
"""


@pytest.mark.parametrize(
    "path, kind, number",
    [
        ("/data/x.pth", "ext4", "259:2"),
        ("/mnt/my disk/x.pth", "ext4", "8:1"),
        ("/mnt/my disk2/x.pth", "ext4", "259:2"),
        ("/dev/shm/x.pth", "tmpfs", "0:25"),
        ("/cloud/x.pth", "zfs", "0:70"),
    ],
)
def test_the_mount_of_a_file(path, kind, number, tmp_path):
    mount = parse_mountinfo(MOUNTINFO, type(tmp_path)(path))
    assert (mount.kind, mount.number) == (kind, number)


def test_the_mount_of_a_file_on_macos(tmp_path):
    path = type(tmp_path)
    assert parse_mounts(MOUNTS, path("/Users/x/w.pth"))[:2] == ("apfs", "/dev/disk3s1s1")
    assert parse_mounts(MOUNTS, path("/Volumes/My Share/w.pth")).kind == "smbfs"
    with pytest.raises(NotKnown, match="no mount"):
        parse_mounts("", path("/w.pth"))


@pytest.fixture
def on_linux(make_root, tmp_path):
    """Facts of a file below tmp_path, with this line as the mount of everything."""

    def ask(mount, files=(), links=()):
        root = make_root({"proc/self/mountinfo": f"22 1 {mount}", "w.pth": "", **dict(files)})
        for link, target in links:
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(root / target)
        facts = weights_disk_facts(tmp_path / "w.pth", root, platform="linux")
        assert tuple(facts) == NAMES
        return facts["weights_disk"], facts["weights_file_system"]

    return ask


def disk(name, rotational, partition=None):
    files = {f"sys/devices/{name}/queue/rotational": f"{rotational}\n"}
    if partition:
        files[f"sys/devices/{name}/{partition}/partition"] = "1\n"
    return files


@pytest.mark.parametrize(
    "name, rotational, kind",
    [
        ("nvme0n1", 0, "NVMe SSD"),
        ("sda", 0, "SSD"),
        ("sda", 1, "hard disk"),
        ("vda", 1, "virtual disk"),  # which says that it turns
        ("mmcblk0", 0, "memory card"),
    ],
)
def test_the_disk_of_a_partition(name, rotational, kind, on_linux):
    files = disk(name, rotational, f"{name}p1")
    links = [("sys/dev/block/8:1", f"sys/devices/{name}/{name}p1")]
    assert on_linux(f"8:1 / / rw - ext4 /dev/{name}p1 rw", files, links) == (kind, "ext4")


def test_what_lies_below_an_encrypted_volume(on_linux):
    files = {**disk("sda", 1, "sda1"), **disk("nvme0n1", 0), "dev/dm-0": ""}
    links = [
        ("sys/class/block/dm-0", "sys/devices/dm-0"),
        ("dev/mapper/vault", "dev/dm-0"),
        ("sys/devices/dm-0/slaves/sda1", "sys/devices/sda/sda1"),
        ("sys/devices/dm-0/slaves/nvme0n1", "sys/devices/nvme0n1"),
    ]
    mount = "0:44 /@home / rw master:2 - btrfs /dev/mapper/vault rw"
    assert on_linux(mount, files, links) == ("NVMe SSD and hard disk", "btrfs")


@pytest.mark.parametrize(
    "mount, kind",
    [("tmpfs tmpfs", "memory"), ("nfs4 nas:/x", "network"), ("9p host", "folder of a host")],
)
def test_what_is_no_disk_of_this_machine(mount, kind, on_linux):
    assert on_linux(f"0:5 / / rw - {mount} rw") == (kind, mount.split()[0])


def test_an_overlay_does_not_say_what_it_lies_on(on_linux):
    found, system = on_linux("0:5 / / rw - overlay overlay rw")
    assert found == {"unavailable": "overlay does not say what it lies on"}
    assert system == "overlay"


@pytest.mark.parametrize(
    "said, kind",
    [
        ({"SolidState": True, "BusProtocol": "Apple Fabric"}, "NVMe SSD"),
        ({"SolidState": True, "BusProtocol": "SATA"}, "SSD"),
        ({"SolidState": False, "BusProtocol": "USB"}, "hard disk"),
        ({"SolidState": False, "BusProtocol": "Disk Image"}, "disk image"),
    ],
)
def test_the_disk_of_a_mac(said, kind, tmp_path):
    def run(command):
        if command == ["/sbin/mount"]:
            return MOUNTS
        assert command == ["/usr/sbin/diskutil", "info", "-plist", "/dev/disk3s1s1"]
        return plistlib.dumps(said).decode()

    (tmp_path / "w.pth").touch()
    facts = weights_disk_facts(tmp_path / "w.pth", platform="darwin", run=run)
    assert facts == {"weights_disk": kind, "weights_file_system": "apfs"}


@pytest.mark.parametrize("text", ["", "no plist", plistlib.dumps({"BusProtocol": "SATA"}).decode()])
def test_a_mac_that_does_not_say(text):
    with pytest.raises(NotKnown, match="diskutil"):
        parse_diskutil(text)


def why(facts):
    (reason,) = {one["unavailable"] for one in facts.values()}
    return reason


def test_without_a_file_a_probe_or_an_answer(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    assert "no file" in why(weights_disk_facts(path))
    path.touch()
    assert why(weights_disk_facts(path, platform="plan9")) == "no probe for plan9"
    assert "mountinfo" in why(weights_disk_facts(path, tmp_path, platform="linux"))
    monkeypatch.setenv("RWKV_HARNESS_PROBES", "off")
    assert "switched off" in why(weights_disk_facts(path))
