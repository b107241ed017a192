"""The static site: pages that open without a network, formulas that need no script, links that lead somewhere."""

import base64
import json
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from irlvla.site.build import build
from irlvla.site.chapters import CHAPTERS
from irlvla.site.figures import figures_body
from irlvla.site.links import check
from irlvla.site.markdown import markdown_to_html, mathml
from irlvla.site.notebook import notebook_body

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TABLE = '<div><style scoped>td {}</style><table border="1" class="dataframe"><tr><td>0.5</td></tr></table></div>'
TEXT = r"""# A chapter

Noise $\varepsilon \sim \mathcal N(0, 1)$, and
$$ L = \sum_k \lVert \hat x_k - x \rVert_1 . $$

\begin{align} a &= b \\ &= c \end{align}

## Further

See [the next](02_semantic_reasoning.ipynb#Further), [a page](../docs/page.md) and [values](../params.yaml).
"""
FILM = "![A film](films/drive.gif)"
OUTPUTS = [
    new_output("stream", name="stderr", text="100%|####| /home/somebody/here\n"),
    new_output("stream", name="stdout", text="3 of 3 <scenes>\n"),
    new_output("display_data", data={"image/png": base64.b64encode(PIXEL).decode(), "text/plain": "<Figure>"}),
    new_output("execute_result", data={"text/html": TABLE, "text/plain": "0.5"}, execution_count=1),
]
ENTRY = {
    "name": "score_table", "kind": "table", "notebook": "01, 07", "data": ["runs/evaluation/table.csv"],
    "command": "dvc repro figures", "shows": "scores of all agents", "files": ["scores.csv", "scores.png"],
}  # fmt: skip


def chapter(text: str = TEXT, outputs=OUTPUTS) -> nbformat.NotebookNode:
    """An executed notebook of a text and one cell."""
    code = new_code_cell("print('scenes')", execution_count=1, outputs=[nbformat.from_dict(o) for o in outputs])
    return new_notebook(cells=[new_markdown_cell(text), code])


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository whose nine notebooks were run, with a document, a parameter file and a published table."""
    root = tmp_path_factory.mktemp("repository")
    for folder in ("notebooks", "docs", "runs/figures/published"):
        (root / folder).mkdir(parents=True)
    (root / "docs" / "page.md").write_text("# A page\n\nBack to [the first](../notebooks/01_data.ipynb).\n")
    (root / "params.yaml").write_text("runs: runs\n")
    for made in CHAPTERS:
        nbformat.write(chapter(outputs=[]), root / "notebooks" / f"{made.name}.ipynb")
        made.executed(root / "runs").parent.mkdir(exist_ok=True)
        nbformat.write(chapter(f"{TEXT}\n{FILM}"), made.executed(root / "runs"))
        (made.executed(root / "runs").parent / "films").mkdir()
        (made.executed(root / "runs").parent / "films" / "drive.gif").write_bytes(made.name.encode())
    published = root / "runs" / "figures" / "published"
    (published / "scores.csv").write_text("agent,score\nhuman,0.9\n")
    (published / "scores.png").write_bytes(PIXEL)
    (published / "index.json").write_text(json.dumps([ENTRY]))
    return root


@pytest.fixture(scope="module")
def pages(repository):
    """Name -> parsed page of the site of that repository."""
    site = repository / "runs" / "site"
    build(repository / "runs", site, repository)
    return {page.name: BeautifulSoup(page.read_text(), "html.parser") for page in site.glob("*.html")}


def body(repository, tmp_path, **content) -> str:
    """The page of a notebook with this content."""
    path = tmp_path / "09_odd.ipynb"
    nbformat.write(chapter(**content), path)
    (tmp_path / "images").mkdir(exist_ok=True)
    return notebook_body(path, tmp_path / "images", repository)[0]


def test_there_is_a_page_for_every_notebook_the_pipeline_the_figures_and_a_linked_document(pages):
    chapters = {f"{made.name}.html" for made in CHAPTERS}
    assert set(pages) == chapters | {"index.html", "figures.html", "docs-page.html"}
    boxes = {link["href"] for link in pages["index.html"].select("a.box")}
    assert boxes == chapters


def test_each_chapter_leads_to_the_one_before_and_the_one_after(pages):
    names = [f"{made.name}.html" for made in CHAPTERS]
    for earlier, later in zip(names, names[1:], strict=False):
        assert {link["href"] for link in pages[earlier].select("a[rel=next]")} == {later}
        assert {link["href"] for link in pages[later].select("a[rel=prev]")} == {earlier}


def test_pages_fit_a_phone_and_load_nothing_from_a_network(pages):
    for soup in pages.values():
        assert "width=device-width" in soup.select_one("meta[name=viewport]")["content"]
        loaded = [tag.get("src", tag.get("href")) for tag in soup.select("[src], link")]
        assert not [link for link in loaded if link.startswith(("http", "//"))]
        assert not soup.find_all(["script", "style", "iframe"])
        assert all(table.find_parent("div", class_="scroll") for table in soup.find_all("table"))


def test_links_of_the_text_lead_to_pages_and_copies_in_the_site(pages, repository):
    links = [link["href"] for link in pages["01_data.html"].select("main p a")]
    assert links == ["02_semantic_reasoning.html#Further", "docs-page.html", "files/params.yaml"]
    assert (repository / "runs" / "site" / "files" / "params.yaml").read_text() == "runs: runs\n"
    assert pages["docs-page.html"].select_one("main p a")["href"] == "01_data.html"


def test_a_film_that_a_notebook_wrote_beside_its_executed_form_is_shown(pages, repository):
    films = [image["src"] for image in pages["08_closed_loop.html"].select("img[src$=gif]")]
    assert films == ["files/runs/closed_loop/films/drive.gif"]
    assert (repository / "runs" / "site" / films[0]).read_bytes() == b"08_closed_loop"


def test_outputs_are_shown_but_for_progress_bars_and_paths_of_a_machine(pages, repository):
    page = pages["01_data.html"]
    assert "3 of 3 <scenes>" in page.get_text() and "somebody" not in page.get_text()
    assert page.select_one("table.dataframe td").get_text() == "0.5"
    image = page.select_one(".output_area img")
    assert (repository / "runs" / "site" / image["src"]).read_bytes() == PIXEL
    assert image["alt"] == "Figure in: Further"


def test_a_figure_names_its_notebooks_data_command_and_files(pages):
    section = pages["figures.html"].find("section")
    assert section.h2.get_text() == "Scores of all agents"
    text = section.dl.get_text(" ")
    for part in ("01 Data", "07 Evaluation", "runs/evaluation/table.csv", "dvc repro figures", "scores.csv"):
        assert part in text
    assert [cell.get_text() for cell in section.select("th, td")] == ["agent", "score", "human", "0.9"]


def test_formulas_become_mathml_and_nothing_of_latex_is_left(pages):
    page = pages["01_data.html"]
    assert [formula["display"] for formula in page.find_all("math")] == ["inline", "block", "block"]
    assert "\\" not in page.main.get_text() and "$" not in page.main.get_text()


@pytest.mark.parametrize(
    ("latex", "part"),
    [
        (r"\mathcal N", "<mi>&#x1D4A9;</mi>"),
        (r"a \sim b", "<mo>&#x0223C;</mo>"),
        (r"\operatorname{softmax}(x)", "<mi>softmax</mi>"),
        (r"\arg\max_q f(q)", "<mi>argmax</mi>"),
        (r"\begin{aligned} a &= b \end{aligned}", "text-align: right"),
        (r"a\!b", 'width="-0.167em"'),
    ],
)
def test_what_browsers_do_not_draw_is_mended(latex, part):
    assert part in mathml(latex, "inline")


def test_align_gives_lines_without_numbers():
    html = markdown_to_html(r"\begin{align} a &= b \\ &= c \end{align}")
    assert len(BeautifulSoup(html, "html.parser").find_all("mtr")) == 2 and "(1)" not in html


@pytest.mark.parametrize("latex", [r"\nonsense x", r"x_", r"\begin{gather} a & b \end{gather}"])
def test_a_formula_that_cannot_be_set_is_named_with_its_notebook(repository, tmp_path, latex):
    with pytest.raises(ValueError, match="09_odd.ipynb: formula"):
        body(repository, tmp_path, text=f"# Odd\n\n$${latex}$$")


@pytest.mark.parametrize("made", CHAPTERS, ids=lambda made: made.name)
def test_every_formula_of_the_stored_notebooks_can_be_set(made):
    cells = nbformat.read(NOTEBOOKS / f"{made.name}.ipynb", 4).cells
    assert all(markdown_to_html(cell.source) for cell in cells if cell.cell_type == "markdown")


def test_a_failed_cell_is_refused(repository, tmp_path):
    failed = new_output("error", ename="KeyError", evalue="x", traceback=[])
    with pytest.raises(ValueError, match="09_odd.ipynb: a cell failed"):
        body(repository, tmp_path, outputs=[failed])


def test_a_notebook_that_was_not_run_is_named_with_the_command(repository, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"01_data.ipynb is missing: run `dvc repro`"):
        notebook_body(tmp_path / "01_data.ipynb", tmp_path / "images", repository)


@pytest.mark.parametrize(
    "html",
    [
        '<a href="elsewhere.html">x</a>',
        '<a href="../page.html">x</a>',
        '<a href="#nowhere">x</a>',
        '<a href="page.html#nowhere">x</a>',
        '<img src="https://example.org/x.png">',
        '<link href="//example.org/x.css">',
        "<script>1</script>",
        '<p id="a"><p id="a">',
    ],
)
def test_what_would_not_work_offline_is_named_with_its_page(tmp_path, html):
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "page.html").touch()
    (folder / "page.html").write_text('<h1 id="top">x</h1><a href="#top">x</a><a href="https://example.org">x</a>')
    check(folder)
    (folder / "broken.html").write_text(html)
    with pytest.raises(ValueError, match="broken.html: "):
        check(folder)


def test_a_broken_link_leaves_the_earlier_site_as_it_is(repository, tmp_path):
    out = tmp_path / "site"
    out.mkdir()
    (out / "site.css").touch()
    executed = CHAPTERS[0].executed(repository / "runs")
    whole = executed.read_text()
    nbformat.write(chapter("# Odd\n\n[gone](../docs/gone.md)"), executed)
    try:
        with pytest.raises(ValueError, match=r"01_data.html: link '../docs/gone.md' leads nowhere"):
            build(repository / "runs", out, repository)
    finally:
        executed.write_text(whole)
    assert [path.name for path in out.iterdir()] == ["site.css"]


def test_a_folder_that_is_no_site_is_not_replaced(repository):
    with pytest.raises(FileExistsError, match="docs exists and is no earlier site"):
        build(repository / "runs", repository / "docs", repository)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"files": ["gone.png"]}, "gone.png, named in"),
        ({"notebook": "somewhere"}, "score_table names no notebook"),
        ({"command": None}, r"score_table lacks \['command'\]"),
    ],
)
def test_an_entry_of_the_figures_that_is_not_whole_is_named(tmp_path, change, error):
    for name in ENTRY["files"]:
        (tmp_path / name).write_text("a,b\n")
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not None}
    (tmp_path / "index.json").write_text(json.dumps([entry]))
    (tmp_path / "figures").mkdir()
    with pytest.raises((FileNotFoundError, ValueError), match=error):
        figures_body(tmp_path, tmp_path / "figures")
