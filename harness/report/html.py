"""The report as one HTML file that needs nothing else: no network, no script, no font.

Knows markup; what the report says is in `page.py`. Everything that comes from records is escaped.
"""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report.page import Page
from harness.report.style import to_inline


def render_html(page: Page) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    inline = {
        # Ours, and escaped where it was drawn.
        (model.slug, plot.kind): Markup(  # noqa: S704
            to_inline(plot.svg, f"{model.slug}_{plot.kind}", f"{plot.title}. {plot.says}")
        )
        for model in page.models
        for plot in model.plots
    }
    return environment.get_template("report.html.j2").render(page=page, inline=inline)
