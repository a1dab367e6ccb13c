"""README.md and docs/: that their links lead somewhere, and their tables say what the code says."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.config.noise_settings import Noise

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page):
    """What a heading is called in a link, as the usual hosts of repositories make it."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[2:] if f"(docs/{page.name})" not in text] == []


def test_every_limit_of_noise_is_listed_with_its_default():
    text = (ROOT / "docs/quiet-machine.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d.]+) \| (\w+) \|$", text, re.MULTILINE)
    noise = Noise()
    names = [name for name in Noise.__struct_fields__ if name not in {"noisy", "retries"}]
    assert [(name, float(value), effect) for name, value, effect in listed] == [
        (name, getattr(noise, name), "noisy" if name in noise.noisy else "marked") for name in names
    ]
