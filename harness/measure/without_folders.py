"""Leave the folders of this machine out of what a record says: they hold names of users.

A traceback names files of Python, of libraries and of the harness; a refusal names the weights. The
names of the files stay, and so do folders below that of the harness or of a library.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import harness
from harness.folders import cache_folder, config_folder


def without_folders(text: str, folders: Mapping[str, str]) -> str:
    """`text` with each of `folders` replaced by what stands for it, the longest first."""
    for folder in sorted(folders, key=len, reverse=True):
        # not where it is only the end of another folder's name
        text = re.sub(rf"(?<![\w./~-]){re.escape(folder + os.sep)}", folders[folder], text)
    return text


def folders_here(files: Iterable[Path | str | None]) -> dict[str, str]:
    """The folders that a trial may name: of `files`, of Python, of the harness, and of the user."""
    home = Path.home()
    found = {
        str(cache_folder()): "",
        str(config_folder()): "",
        str(Path.cwd()): "",
        str(home): "~/",
    }
    python = (*sys.path, sys.prefix, sys.base_prefix, str(Path(harness.__file__).parents[1]))
    found.update(dict.fromkeys(filter(os.path.isabs, python), ""))
    for file in files:
        if file is not None and Path(file).is_absolute():
            found[str(Path(file).parent)] = ""
    return {folder: short for folder, short in found.items() if folder != os.sep}
