"""What nixpkgs' Python does when it starts in an environment of the store.

Takes the packages from NIX_PYTHONPATH alone, and its own path and prefix from the wrapper, which
every process started from here goes through again.
"""

import os
import site
import sys
from pathlib import Path

_PREFIX = os.environ.pop("NIX_PYTHONPREFIX", None)
_PACKAGES = os.environ.pop("NIX_PYTHONPATH", "")
_EXECUTABLE = os.environ.pop("NIX_PYTHONEXECUTABLE", None)
_HERE = str(Path(__file__).resolve().parent)

if _PREFIX and _EXECUTABLE:
    # Nothing of the host's interpreter but its standard library, and no trace of this module.
    hosts = {_HERE, *site.getsitepackages()}
    sys.path[:] = [path for path in sys.path if path not in hosts]
    for path in filter(None, _PACKAGES.split(":")):
        site.addsitedir(path)
    rest = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path not in ("", _HERE)]
    os.environ.pop("PYTHONPATH", None)
    if rest:
        os.environ["PYTHONPATH"] = ":".join(rest)
    sys.executable = _EXECUTABLE
    sys.prefix = sys.exec_prefix = _PREFIX
