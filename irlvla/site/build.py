"""All pages of the site, written to a folder, checked, and only then put in the place of the earlier site."""

import os
import shutil
from html import escape
from pathlib import Path

from pygments.formatters import HtmlFormatter

from irlvla.site.chapters import CHAPTERS, index_body, neighbours, title
from irlvla.site.figures import figures_body
from irlvla.site.links import check, site_path
from irlvla.site.notebook import markdown_body, notebook_body, with_contents

STYLE = Path(__file__).with_name("site.css")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} | IRL-VLA</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
</head>
<body>
<header><nav><a href="index.html">IRL-VLA</a> <a href="figures.html">Figures</a></nav>{neighbours}</header>
<main>
{body}
</main>
<footer>{neighbours}</footer>
</body>
</html>
"""


def page(heading: str, body: str, links: str = "") -> str:
    """A whole page around `body`; `links` lead to its neighbours."""
    return PAGE.format(title=escape(heading), style=STYLE.name, neighbours=links, body=body)


def build(runs: Path, out: Path, repository: Path) -> None:
    """Make the site of the results in `runs` as the folder `out`, in place of an earlier site there.

    `repository` holds `notebooks/`, which links are relative to. Raises FileNotFoundError if a notebook was not run
    or a figure is missing, FileExistsError if `out` is something else than a site, ValueError at a broken link; then
    `out` stays as it was, and what was made lies in `<out>.part`.
    """
    if out.exists() and not (out / STYLE.name).is_file():
        raise FileExistsError(f"{out} exists and is no earlier site: remove it or name another folder")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for name in ("images", "figures"):
        (part / name).mkdir(parents=True)
    waiting: set[Path] = set()
    for index, chapter in enumerate(CHAPTERS):
        body, linked = notebook_body(chapter.executed(runs), part / "images", repository)
        (part / f"{chapter.name}.html").write_text(page(title(chapter), with_contents(body), neighbours(index)))
        waiting |= linked
    (part / "index.html").write_text(page("Pipeline", index_body()))
    figures = figures_body(runs / "figures" / "published", part / "figures")
    (part / "figures.html").write_text(page("Figures and tables", with_contents(figures)))
    done: set[Path] = set()
    while waiting - done:
        source = min(waiting - done)
        done.add(source)
        target = part / site_path(source)
        if source.suffix == ".md":
            body, linked = markdown_body(repository / source, repository)
            target.write_text(page(source.as_posix(), body))
            waiting |= linked
        elif source.suffix != ".ipynb":  # those have their pages
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / source, target)
    highlighting = HtmlFormatter().get_style_defs(".highlight")
    (part / STYLE.name).write_text(f"{STYLE.read_text()}\n/* Code, from Pygments */\n{highlighting}\n")
    check(part)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)
