"""A limit on what this process may map: asked for by few, since mapped files and CUDA count too."""

from __future__ import annotations

import resource

from harness.errors import Unsupported
from harness.sizes import size


def limit_address_space(limit_bytes: int | None) -> None:
    """Hold this process, and what it starts, to the limit; an allocation beyond it fails.

    Raises `Unsupported` where the system has no such limit, or a lower one already.
    """
    if limit_bytes is None:
        return
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    except (OSError, ValueError) as error:
        raise Unsupported(
            f"limits.address_space: {size(limit_bytes)} cannot be set here ({error}). Leave it "
            "out, or use limits.memory"
        ) from error
