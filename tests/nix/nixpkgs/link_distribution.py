"""Link a distribution of this interpreter, and all that it requires, into a folder of the store.

    link_distribution.py NAME VERSION FOLDER

VERSION is that of the pinned nixpkgs, or `any`; the distribution must have it. What NAME requires
comes along in whatever version is there, as it would be propagated.
"""

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def requirements(dist: Distribution) -> list[str]:
    """Names of what it requires here, without extras."""
    wanted = [Requirement(text) for text in dist.requires or []]
    return [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]


def closure(name: str, found: dict[str, Distribution]) -> None:
    """Add the distribution and all that it requires to `found`."""
    dist = distribution(name)
    if found.setdefault(dist.metadata["Name"].lower(), dist) is dist:
        for required in requirements(dist):
            closure(required, found)


def link(dist: Distribution, folder: Path) -> None:
    """Link each top-level file or folder of a distribution."""
    tops = {
        file.parts[0] for file in dist.files or [] if file.parts[0] not in ("..", "__pycache__")
    }
    for top in tops:
        target = folder / top
        if not target.exists():
            target.symlink_to(Path(str(dist.locate_file(top))).resolve())


def add_scripts(dist: Distribution, folder: Path) -> None:
    """Write the programs of a distribution, as pip would."""
    for script in dist.entry_points.select(group="console_scripts"):
        folder.mkdir(exist_ok=True)
        lines = (
            f"import sys\nfrom {script.module} import {script.attr}\nsys.exit({script.attr}())\n"
        )
        (folder / script.name).write_text(lines)


def main(name: str, version: str, folder: Path) -> None:
    """Link `name`, or leave with what is wrong."""
    try:
        there = distribution(name).version
    except PackageNotFoundError:
        sys.exit(f"stand-in: {name} is not installed beside {sys.executable}")
    if version not in ("any", there):
        sys.exit(f"stand-in: {name} is {there} beside {sys.executable}, and {version} in the pin")
    found: dict[str, Distribution] = {}
    closure(name, found)
    for dist in found.values():
        link(dist, folder)
    add_scripts(distribution(name), folder.parents[2] / "bin")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
