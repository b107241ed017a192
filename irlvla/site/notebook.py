"""Executed notebooks, and Markdown files that they link to, as bodies of pages."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExtractOutputPreprocessor

from irlvla.prerequisites import PIPELINE, require
from irlvla.site.links import follow
from irlvla.site.markdown import markdown_to_html


def tidy(soup: BeautifulSoup) -> None:
    """Give tables a box to scroll in, take pandas' styling off them, and give pictures a text in their place."""
    for tag in soup.find_all("style"):
        tag.decompose()
    for tag in soup.select("table.dataframe, table.dataframe *"):
        for name in ("border", "style", "valign", "halign"):
            del tag[name]
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
    for image in soup.select(".output_area img"):
        section = image.find_previous(["h1", "h2", "h3"])
        image["alt"] = f"Figure in: {section.get_text().rstrip('¶')}" if section else "Figure"


def page_body(html: str, folders: Sequence[Path], repository: Path) -> tuple[str, set[Path]]:
    """Rendered Markdown and outputs, fitted into the site; and the files of the repository that they link to.

    Links are relative to one of `folders`.
    """
    soup = BeautifulSoup(html, "html.parser")
    linked = follow(soup, folders, repository)
    tidy(soup)
    return str(soup), linked


def markdown_body(path: Path, repository: Path) -> tuple[str, set[Path]]:
    """A Markdown file as the body of a page, and the files it links to. Raises ValueError at a bad formula."""
    try:
        html = markdown_to_html(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return page_body(html, [path.parent], repository)


def notebook_body(path: Path, images: Path, repository: Path) -> tuple[str, set[Path]]:
    """An executed notebook as the body of a page, its pictures written below `images`; and the files it links to.

    Raises FileNotFoundError if it was not run, ValueError if a cell failed or a formula cannot be set.
    """
    require(PIPELINE, path)  # which executes the notebooks
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
        if any(output.output_type == "error" for output in outputs):
            raise ValueError(f"{path}: a cell failed, so the page would be half a notebook: run `dvc repro` again")
        if cell.cell_type == "code":
            cell.outputs = outputs  # without progress bars and warnings, which name paths of one machine
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_filter("markdown2html", markdown_to_html)
    exporter.register_preprocessor(ExtractOutputPreprocessor(), enabled=True)
    try:
        html, resources = exporter.from_notebook_node(
            notebook, resources={"unique_key": path.stem, "output_files_dir": images.name}
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for name, data in resources["outputs"].items():
        (images.parent / name).write_bytes(data)
    # A link leads from where the notebook is kept, or to what it wrote beside its executed form.
    return page_body(html, [repository / "notebooks", path.parent], repository)


def with_contents(body: str) -> str:
    """The body of a page with a folded list of its sections below the title."""
    sections = BeautifulSoup(body, "html.parser").select("h2[id]")
    items = (f'<li><a href="#{escape(h["id"])}">{escape(h.get_text().rstrip("¶"))}</a></li>' for h in sections)
    return body.replace("</h1>", f"</h1><details><summary>Sections</summary><ul>{''.join(items)}</ul></details>", 1)
