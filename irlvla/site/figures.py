"""The page of published figures and tables: what each shows, and the notebook, data and command behind it."""

import csv
import json
import re
import shutil
from html import escape
from pathlib import Path

from irlvla.prerequisites import require
from irlvla.site.chapters import CHAPTERS, title

FIELDS = {"name", "kind", "notebook", "data", "command", "shows", "files"}


def csv_table(path: Path) -> str:
    """A CSV file as an HTML table; its first column names the rows."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    head = "".join(f"<th>{escape(value)}</th>" for value in header)
    lines = (f"<tr><th>{escape(r[0])}</th>{''.join(f'<td>{escape(value)}</td>' for value in r[1:])}</tr>" for r in rows)
    return f'<div class="scroll"><table class="dataframe"><tr>{head}</tr>{"".join(lines)}</table></div>'


def figures_body(published: Path, folder: Path) -> str:
    """Every published figure and table with the notebook, data and command behind it; copies the files to `folder`.

    `index.json` there is a list of {name, kind, notebook, data, command, shows, files}. Raises FileNotFoundError
    if it or a file that it names is missing, ValueError if an entry lacks a field or names no notebook.
    """
    index = published / "index.json"
    require("dvc repro figures", index)
    sections = []
    for number, entry in enumerate(json.loads(index.read_text())):
        lacking = FIELDS - set(entry)
        if lacking:
            raise ValueError(f"{index}: entry {entry.get('name', number)} lacks {sorted(lacking)}")
        shown, files = "", []
        for name in entry["files"]:
            if not (published / name).is_file():
                raise FileNotFoundError(f"{published / name}, named in {index}, is missing: run `dvc repro figures`")
            shutil.copyfile(published / name, folder / name)
            link = f"{folder.name}/{name}"
            files.append(f'<a href="{link}">{escape(name)}</a>')
            if name.endswith(".png"):
                shown += f'<a href="{link}"><img src="{link}" alt="{escape(entry["shows"])}"></a>'
            elif name.endswith(".csv"):
                shown += csv_table(published / name)
        numbers = re.findall(r"\d\d", entry["notebook"])
        made_by = [f'<a href="{c.name}.html">{title(c)}</a>' for c in CHAPTERS if c.name[:2] in numbers]
        if not made_by:
            raise ValueError(
                f"{index}: entry {entry['name']} names no notebook: {entry['notebook']!r}, expected '01, 07'"
            )
        data = (f"<code>{escape(path)}</code>" for path in entry["data"])
        sections.append(
            f'<section><h2 id="{escape(entry["name"])}">{escape(entry["shows"][:1].upper() + entry["shows"][1:])}</h2>'
            f"{shown}<dl><dt>{escape(entry['kind'])}</dt><dd>{', '.join(files)}</dd>"
            f"<dt>notebook</dt><dd>{', '.join(made_by)}</dd><dt>data</dt><dd>{', '.join(data)}</dd>"
            f"<dt>command</dt><dd><code>{escape(entry['command'])}</code></dd></dl></section>"
        )
    return f"<h1>Figures and tables</h1><p>Embedded world: not comparable with published scores.</p>{''.join(sections)}"
