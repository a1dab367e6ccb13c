"""The pages are parsed, not compared with text: what matters is what a reader gets."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import fabricate
import pytest

from harness.report.html import render_html
from harness.report.markdown import escape, render_markdown
from harness.report.page import make_page, unique_slugs

VOID = {"meta", "br", "img", "hr", "link", "input", "path", "use", "rect", "circle"}


class Element:
    def __init__(self, tag, attrs, parent):
        self.tag, self.attrs, self.parent, self.children = tag, dict(attrs), parent, []

    def all(self, tag=None, **attrs):
        for child in self.children:
            if isinstance(child, Element):
                wanted = tag is None or child.tag == tag
                if wanted and all(child.attrs.get(k) == v for k, v in attrs.items()):
                    yield child
                yield from child.all(tag, **attrs)

    @property
    def text(self):
        return "".join(c if isinstance(c, str) else c.text for c in self.children)


class Tree(HTMLParser):
    """Builds elements, and fails where tags are not closed in the order they were opened."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", (), None)
        self.feed(html)
        self.close()
        assert self.at is self.root, f"{self.at.tag} is not closed"

    def handle_starttag(self, tag, attrs):
        element = Element(tag, attrs, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag, attrs):
        self.at.children.append(Element(tag, attrs, self.at))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
            self.at = self.at.parent

    def handle_data(self, data):
        self.at.children.append(data)


def test_models_named_like_parts_of_the_page_do_not_clash_with_them(summary_of):
    run = fabricate.Fabricated(models={"facts": "f.pth", "a": "a.pth", "a-choice": "b.pth"})
    for model in run.models:
        run.speed("cpu fp32", 100, model=model)
    elements = Tree(render_html(make_page(summary_of(run)))).root.all()
    ids = [element.attrs["id"] for element in elements if "id" in element.attrs]
    assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every fabricated run's page, summarised and drawn once."""
    from harness.records.store import read_run
    from harness.report.summary import summarise

    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, make in fabricate.EVERY.items():
        run = read_run(make().write(folder / name.replace(" ", "-")))
        made[name] = make_page(summarise(run))
    return made


@pytest.fixture(scope="module")
def trees(pages):
    return {name: Tree(render_html(page)).root for name, page in pages.items()}


every = pytest.mark.parametrize("name", fabricate.EVERY)


@every
def test_ids_are_unique_and_every_link_within_the_page_leads_somewhere(name, trees):
    elements = list(trees[name].all())
    ids = [element.attrs["id"] for element in elements if "id" in element.attrs]
    assert len(ids) == len(set(ids))
    for element in elements:
        href = element.attrs.get("href", "")
        if href:
            assert href.startswith("#")
            assert href[1:] in ids
        for reference in re.findall(r"url\(#([^)]+)\)", " ".join(map(str, element.attrs.values()))):
            assert reference in ids


@every
def test_each_table_and_plot_of_a_model_stands_below_a_heading_that_names_it(name, pages, trees):
    for model in pages[name].models:
        parts = {"quality": "beside-the-reference", "speed": "speed", "latency": "waits"}
        for part, end in {**parts, "memory": "held"}.items():
            plots = [f"{model.slug}_{plot.kind}" for plot in model.plots if plot.part == part]
            sections = list(trees[name].all("section", id=f"{model.slug}_{end}"))
            shown = [one.attrs["id"] for each in sections for one in each.all("figure")]
            assert shown == plots
            linked = list(trees[name].all("a", href=f"#{model.slug}_{end}"))
            assert len(linked) == len(sections)
            for section in sections:
                (heading,) = section.all("h3")
                assert heading.text == f"{part.capitalize()} of {model.name}"
        waits = list(trees[name].all("section", id=f"{model.slug}_waits"))
        assert bool(waits) or not model.latency


@every
def test_markdown_has_the_same_headings_with_the_same_plots(name, pages):
    parts = re.split(r"^### ", render_markdown(pages[name]), flags=re.MULTILINE)
    below = {part.split("\n")[0]: part.partition("\n## ")[0] for part in parts[1:]}
    for model in pages[name].models:
        for part in ("quality", "speed", "latency", "memory"):
            plots = [f"{model.slug}-{one.kind}.svg" for one in model.plots if one.part == part]
            text = below.get(f"{part.capitalize()} of {escape(model.name)}", "")
            assert re.findall(r"\(plots/(.*?)\)", text) == plots


def test_only_tables_of_many_columns_are_set_closer(trees):
    tables = [one for tree in trees.values() for one in tree.all("table")]
    wide = [one for one in tables if one.attrs.get("class") == "wide"]
    assert {len(list(one.all("th", scope="col"))) > 8 for one in wide} == {True}
    assert {len(list(one.all("th", scope="col"))) > 8 for one in tables if one not in wide} == {
        False
    }


@every
def test_nothing_is_loaded_from_anywhere(name, pages, trees):
    for element in trees[name].all():
        assert element.tag not in {"script", "iframe", "object", "embed", "link", "img", "base"}
        assert not any(attribute.startswith("on") for attribute in element.attrs)
        assert "src" not in element.attrs
    html = render_html(pages[name])
    assert not re.search(r"url\((?!#)|@import|https?://", html)


@every
def test_tables_have_captions_and_headings_with_scopes(name, trees):
    tables = list(trees[name].all("table"))
    assert tables or name == "empty"
    for table in tables:
        assert len(list(table.all("caption"))) == 1
        head, body = next(table.all("thead")), next(table.all("tbody"))
        width = len(list(head.all("th", scope="col")))
        for row in body.all("tr"):
            assert row.children[0].attrs["scope"] == "row"
            assert len([c for c in row.children if isinstance(c, Element)]) == width


@every
def test_every_plot_has_a_text_and_its_numbers(name, pages, trees):
    figures = list(trees[name].all("figure"))
    assert len(figures) == sum(len(model.plots) for model in pages[name].models)
    for figure in figures:
        svg = next(figure.all("svg", role="img"))
        assert len(svg.attrs["aria-label"]) > 20
        details = next(figure.all("details"))
        assert list(details.all("table"))


@every
def test_every_missing_figure_has_a_footnote_that_says_why(name, trees):
    for table in trees[name].all("table"):
        for cell in table.all("td"):
            if cell.text.startswith("–"):
                (link,) = cell.all("a")
                (note,) = trees[name].all("li", id=link.attrs["href"][1:])
                assert note.text.strip()


@every
def test_the_same_records_give_the_same_bytes(name, pages):
    assert render_html(pages[name]) == render_html(pages[name])
    assert render_markdown(pages[name]) == render_markdown(pages[name])


@every
def test_the_answer_comes_first(name, trees):
    main = next(trees[name].all("main"))
    sections = [child for child in main.children if isinstance(child, Element)]
    assert sections[0].attrs["id"] == "answer"
    assert sections[0].text.strip()


def test_what_was_run_on_what_machine_is_at_the_top(trees):
    about = next(next(trees["plausible"].all("header")).all("dl")).text
    for expected in ("Fabricated CPU at 3 GHz", "24.0 GiB", "PyTorch 2.0.1", "28 of 28", "torch"):
        assert expected in about


def test_every_failure_and_skip_is_listed_with_its_reason(trees):
    (table,) = trees["every failure"].all("table", id="problems_table")
    for kind in fabricate.FAILURES:
        assert f"fabricated {kind}" in table.text
    details = [pre.text for pre in trees["every failure"].all("pre")]
    assert details == ["Traceback <of> & things"] * len(fabricate.FAILURES)


def test_what_leaves_the_references_answer_is_marked(trees):
    table = next(trees["plausible"].all("table", id="quickstart_differing-1"))
    marked = [mark.text for mark in table.all("mark")]
    assert marked[0] == "3"  # 27 + 45 = 7[2]
    cell = next(mark for mark in table.all("mark")).parent
    assert cell.text.startswith("27 + 45 = 73")
    assert "wrong, differs from token 12 on" in cell.text


def test_answers_stand_beside_the_references_few_at_a_time(trees):
    tables = [t for t in trees["devices"].all("table") if "_differing-" in t.attrs["id"]]
    heads = [[th.text for th in next(table.all("thead")).all("th")] for table in tables]
    assert all(head[1] == "cpu fp32 (reference)" for head in heads)
    assert all(len(head) <= 5 for head in heads)
    assert sum(len(head) - 2 for head in heads) == 7  # each of the others once


def test_hostile_texts_are_shown_and_not_obeyed(trees):
    text = trees["hostile"].text
    for shown in ("<script>alert(1)</script>", "</style><img src=x>", "<script>warn</script>",
                  "</td><script>why</script>", "</pre><script>x", "<script>fact</script>",
                  'x"><script>alert("$m$")</script>'):  # fmt: skip
        assert shown in text


def test_a_run_without_numbers_says_why(trees):
    assert "no CUDA device" in trees["skips only"].text
    assert "signal 11" in trees["failures only"].text
    assert "nothing to draw" in trees["failures only"].text
    assert "Nothing was planned" in trees["empty"].text


def test_without_speeds_there_is_no_heading_of_speed(summary_of):
    run = fabricate.Fabricated(["cpu fp32"])
    run.answers("cpu fp32")
    page = render_html(make_page(summary_of(run)))
    assert "Memory of tiny" in page
    assert "Speed of tiny" not in page
    assert "tiny_speed" not in page


def test_markdown_rows_have_as_many_cells_as_their_heading(pages):
    for page in pages.values():
        width = None
        for line in render_markdown(page).splitlines():
            if not line.startswith("|"):
                width = None
                continue
            cells = len(re.findall(r"(?<!\\)\|", line)) - 1
            width = width or cells
            assert cells == width, line


def test_markdown_holds_no_tag_but_ours(pages):
    for page in pages.values():
        tags = set(re.findall(r"</?([a-zA-Z][a-zA-Z0-9]*)", render_markdown(page)))
        assert tags <= {"b", "br", "sup", "details", "summary"}


@pytest.mark.parametrize(
    "text", ["a|b", "*a*", "`a`", "[a](b)", "<b>", "# a", "a\nb", "> a", "$a$"]
)
def test_markdown_is_escaped(text):
    escaped = escape(text)
    assert "\n" not in escaped
    assert not re.search(r"(?<!\\)[|*`\[\]#$]|^>|<(?!br>)", escaped)


def test_slugs_are_unique_and_plain():
    slugs = unique_slugs(["A b", "a-b", "a_b", "世界", "界", "x.7B"])
    assert slugs == ("a-b", "a-b-2", "a-b-3", "model", "model-2", "x-7b")
