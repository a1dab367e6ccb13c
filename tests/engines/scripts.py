"""Scripts of the `fake` engine."""

import json


def script(folder, values):
    """The path of a script that says this."""
    path = folder / "script.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path
