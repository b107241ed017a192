"""Links: from where a file lies in the repository to where it lies in the site, and the check of all of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup


def site_path(source: Path) -> str:
    """Where a file of the repository (relative to its root) lies in the site: all pages side by side."""
    if source.suffix == ".ipynb":
        return f"{source.stem}.html"
    if source.suffix == ".md":
        return "-".join(source.with_suffix(".html").parts)
    return f"files/{source.as_posix()}"


def follow(soup: BeautifulSoup, folders: Sequence[Path], repository: Path) -> set[Path]:
    """Turn links relative to one of `folders` into links of the site; the files of the repository that they lead to.

    A link to no file of the repository stays as it is: `check` will name it.
    """
    linked = set()
    for tag in soup.find_all(["a", "img"]):
        key = "href" if tag.name == "a" else "src"
        link = urlsplit(tag.get(key, ""))
        targets = [Path(os.path.normpath(folder.absolute() / unquote(link.path))) for folder in folders]
        found = [t for t in targets if t.is_file() and t.is_relative_to(repository.absolute())]
        if not link.scheme and link.path and found:
            source = found[0].relative_to(repository.absolute())
            tag[key] = link._replace(path=site_path(source)).geturl()
            linked.add(source)
    return linked


def check(folder: Path) -> None:
    """Raise ValueError with page and link for every link, picture or script that would not work without a network."""
    soups = {page.name: BeautifulSoup(page.read_text(), "html.parser") for page in sorted(folder.glob("*.html"))}
    ids = {name: [tag["id"] for tag in soup.select("[id]")] for name, soup in soups.items()}
    wrong = []
    for name, soup in soups.items():
        wrong += [f"{name}: id {id_!r} occurs twice" for id_ in sorted(set(ids[name])) if ids[name].count(id_) > 1]
        wrong += [f"{name}: has a script" for _ in soup.find_all(["script", "iframe"])]
        for tag in soup.select("[href], [src]"):
            text = tag.get("href", tag.get("src"))
            link = urlsplit(text)
            if link.scheme == "data" or (tag.name == "a" and link.scheme in ("http", "https", "mailto")):
                continue
            target, fragment = os.path.normpath(unquote(link.path) or name), unquote(link.fragment)
            outside = link.scheme or link.netloc or target.startswith("..")
            if outside or not (folder / target).is_file():
                wrong.append(f"{name}: link {text!r} leads nowhere")
            elif fragment and fragment not in ids.get(target, []):
                wrong.append(f"{name}: link {text!r} leads to no place of {target}")
    if wrong:
        raise ValueError("the site would have broken pages:\n" + "\n".join(wrong))
