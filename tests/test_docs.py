"""README.md and docs/: that their links lead somewhere, and their tables say what the code says."""

import re
import textwrap
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.cli.referring import SMALL_FOLDER
from harness.cli.run import command as run
from harness.config.load import load_study
from harness.config.noise_settings import Noise
from harness.plan.matrix import cells
from harness.records.limits_file import LIMITS_NAME
from harness.records.stop import STOP_NAME

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


def test_the_example_of_several_strategies_is_what_the_page_says_of_it(tmp_path):
    text = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    section = text.partition("### Several at once\n")[2].partition("\n## ")[0]
    example = "".join(re.findall(r"^    .*\n", section, re.MULTILINE))
    (tmp_path / "page.yaml").write_text(textwrap.dedent(example), encoding="utf-8")
    study = load_study(tmp_path / "page.yaml").study
    splits = [f"cpu fp32i8 *{n} -> cpu fp32" for n in (0, 2, 4)]
    assert study.strategies == ["cpu fp32i8", "cuda fp16i8", *splits]
    answering = [one.strategy for one in cells(study) if one.workload == "answers"]
    assert answering == splits
    assert "these are five strategies" in section


def test_every_file_of_a_run_stands_in_the_page_on_results():
    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    names = [LIMITS_NAME, STOP_NAME, SMALL_FOLDER, "plan.json", "facts.json", "records.jsonl"]
    assert [name for name in names if f" {name}" not in text and f"/{name}" not in text] == []


def test_every_option_of_run_stands_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    options = [name for one in run.params for name in one.opts if name.startswith("--")]
    assert [name for name in options if name not in pages] == []


def test_the_example_of_samplings_and_prompts_is_what_the_page_says_of_it(tmp_path):
    text = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    section = text.partition("## Samplings and prompts\n")[2].partition("\n## ")[0]
    example = "".join(re.findall(r"^    .*\n", section, re.MULTILINE))
    study = "name: page\nstrategies: [cpu fp32, cpu bf16]\n" + textwrap.dedent(example)
    study = study.replace("questions/general.yaml", "builtin:quickstart")
    (tmp_path / "page.yaml").write_text(study, encoding="utf-8")
    found = cells(load_study(tmp_path / "page.yaml").study)
    of = {
        strategy: [
            one.id.partition("answers")[2]
            for one in found
            if (one.strategy, one.workload) == (strategy, "answers")
        ]
        for strategy in ("cpu bf16", "cpu fp32")
    }
    assert of["cpu bf16"] == ["/greedy/bob", "/greedy/plain", "/warm/bob"]
    assert of["cpu fp32"] == ["/greedy/bob", "/greedy/plain"]
    assert sum(one.workload == "speed" for one in found) == 2
    assert all(
        f"…{variant}`" in section or f"answers{variant}`" in section for variant in of["cpu bf16"]
    )
