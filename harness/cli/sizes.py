"""Sizes of memory as options."""

from __future__ import annotations

import click

from harness.sizes import parse_size, unit_meant


class Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """Bytes: `8GiB`, `8G` and `8Gi` are 8 × 2^30; `8GB` is 8 × 10^9, as on a disk's label.

    A number without a unit is one of bytes, but none below 1 MiB: `8` is hardly meant so.
    """

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """A number of bytes; more than none."""
        if isinstance(value, int):
            return value
        n_bytes = parse_size(str(value))
        if n_bytes is None:
            self.fail(
                f"'{value}' is not a size. Write 8GiB (or 8G), 8192MiB, or 8.5GB for powers of 10.",
                param,
                ctx,
            )
        if n_bytes < 1:
            self.fail(f"'{value}' is no memory at all", param, ctx)
        meant = unit_meant(str(value))
        if meant is not None:
            self.fail(f"'{value}' has no unit. Do you mean {meant}?", param, ctx)
        return n_bytes


class SizeOrNone(Size):
    """As a size, but there may be none: `0`, `0B`, `0GiB`."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """A number of bytes."""
        return 0 if parse_size(str(value)) == 0 else super().convert(value, param, ctx)
