"""The texts that the project ships, to be scored under a strategy and under its reference.

Knows their names and files; nothing of tokens or models. `prose.txt` was written for this project;
the other one are turns of the quickstart model's small world that it was not trained on.
"""

from __future__ import annotations

from pathlib import Path

from harness.quickstart import files

PROSE = "builtin:prose"
BUILTIN_TEXTS = {PROSE: Path(__file__).parent / "prose.txt", files.BUILTIN: files.TEXT}
