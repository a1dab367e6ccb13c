"""The disk and the file system that a file is read from: how long loading takes hangs on them.

Of a path only what lies below it is told, never the path. The `parse_` functions are pure.
"""

from __future__ import annotations

import os
import plistlib
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.parsers.expat import ExpatError

from harness.machine.facts import Facts, NotKnown, collect, read, unavailable
from harness.machine.quiet.darwin import Run, run_program
from harness.machine.switch import VARIABLE, probes_are_off

NAMES = ("weights_disk", "weights_file_system")
_BLOCK = "sys/class/block"
# File systems that lie on no disk of this machine -> what they lie on.
_ELSEWHERE = {
    **dict.fromkeys(("tmpfs", "ramfs", "devtmpfs"), "memory"),
    **dict.fromkeys(("9p", "virtiofs", "drvfs", "vboxsf", "fuse.vmhgfs-fuse"), "folder of a host"),
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre"), "network"),
    **dict.fromkeys(("afpfs", "webdav", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"), "network"),
}
# Linux' names of disks whose flag `rotational` means nothing.
_BY_NAME = (
    ("nvme", "NVMe SSD"),
    ("mmcblk", "memory card"),
    ("pmem", "memory"),
    ("zram", "memory"),
    ("ram", "memory"),
    ("nbd", "network"),
    ("rbd", "network"),
    ("vd", "virtual disk"),
    ("xvd", "virtual disk"),
)


class Mount(NamedTuple):
    """A file system that is mounted."""

    kind: str  # ext4, apfs
    source: str  # /dev/sda1, or anything
    number: str = ""  # of its device on Linux, such as 259:2


def weights_disk_facts(
    path: Path,
    root: Path = Path("/"),
    *,
    platform: str = sys.platform,
    run: Run = run_program,
) -> Facts:
    """Kind of disk, and file system, of the file that weights are read from.

    Raises nothing: what is not told has a reason. On macOS it takes some 0.1 s.
    """
    if probes_are_off():
        return dict.fromkeys(NAMES, unavailable(f"probes are switched off by {VARIABLE}"))
    if not path.exists():
        return dict.fromkeys(NAMES, unavailable("the weights are read from no file"))
    where = Path(os.path.realpath(path))
    systems: Mapping[str, Callable[[], tuple[Mount, Callable[[], str]]]] = {
        "linux": lambda: _on_linux(where, root),
        "darwin": lambda: _on_macos(where, run),
    }
    try:
        mount, disk = systems[platform]()
    except KeyError:
        return dict.fromkeys(NAMES, unavailable(f"no probe for {platform}"))
    except NotKnown as error:
        return dict.fromkeys(NAMES, unavailable(str(error)))
    return collect({"weights_disk": disk, "weights_file_system": lambda: mount.kind})


def parse_mountinfo(text: str, path: Path) -> Mount:
    """The mount of Linux that `path` lies in; of several in one place the last one holds."""
    found: tuple[int, Mount] | None = None
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        point = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = (len(point.parts), Mount(kinds[0], kinds[1], fields[2]))
    if found is None:
        raise NotKnown("/proc/self/mountinfo names no mount of it")
    return found[1]


def parse_mounts(text: str, path: Path) -> Mount:
    """The mount of macOS that `path` lies in, in what `mount` prints."""
    found: tuple[int, Mount] | None = None
    for source, point, kind in re.findall(r"^(.+?) on (.+) \((\w+)", text, re.MULTILINE):
        if path.is_relative_to(point) and (found is None or len(Path(point).parts) >= found[0]):
            found = (len(Path(point).parts), Mount(kind, source))
    if found is None:
        raise NotKnown("mount names no mount of it")
    return found[1]


def parse_diskutil(text: str) -> str:
    """The kind of disk in what `diskutil info -plist` prints."""
    try:
        said = plistlib.loads(text.encode())
    except (ExpatError, ValueError, plistlib.InvalidFileException) as error:
        raise NotKnown("diskutil's answer is not understood") from error
    bus = said.get("BusProtocol", "")
    if bus == "Disk Image":
        return "disk image"
    if "SolidState" not in said:
        raise NotKnown("diskutil does not say")
    if not said["SolidState"]:
        return "hard disk"
    return "NVMe SSD" if bus in ("Apple Fabric", "PCI-Express", "PCI") else "SSD"


def _on_linux(where: Path, root: Path) -> tuple[Mount, Callable[[], str]]:
    mount = parse_mountinfo(read(root, "proc/self/mountinfo"), where)
    return mount, partial(_linux_disk, mount, root)


def _on_macos(where: Path, run: Run) -> tuple[Mount, Callable[[], str]]:
    mount = parse_mounts(run(["/sbin/mount"]), where)
    return mount, partial(_macos_disk, mount, run)


def _macos_disk(mount: Mount, run: Run) -> str:
    if mount.kind in _ELSEWHERE:
        return _ELSEWHERE[mount.kind]
    return parse_diskutil(run(["/usr/sbin/diskutil", "info", "-plist", mount.source]))


def _linux_disk(mount: Mount, root: Path) -> str:
    if mount.kind in _ELSEWHERE:
        return _ELSEWHERE[mount.kind]
    block = root / "sys/dev/block" / mount.number
    if not block.exists():  # btrfs has a number of its own
        name = (root / mount.source.lstrip("/")).resolve().name  # /dev/mapper/x is a link
        block = root / _BLOCK / name
    if not mount.source.startswith("/dev/") or not block.exists():
        raise NotKnown(f"{mount.kind} does not say what it lies on")
    return " and ".join(sorted(_kinds(block.resolve())))


def _kinds(block: Path) -> set[str]:
    """Of a disk, a partition, or what several of them make up (LVM, RAID, encryption)."""
    disk = block.parent if (block / "partition").exists() else block
    parts = sorted((disk / "slaves").glob("*"))
    if parts:
        return {kind for part in parts for kind in _kinds(part.resolve())}
    for name, kind in _BY_NAME:
        if disk.name.startswith(name):
            return {kind}
    return {"hard disk" if read(disk, "queue/rotational") == "1" else "SSD"}
