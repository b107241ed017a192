"""What is published: figures and tables in one folder, and an index that says where each comes from.

The index is a page, `index.md`, and the same as a list, `index.json`: name, kind ("figure" or "table"), notebook, data,
command, shows, files.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from irlvla.plots import COLUMN_IN, PAGE_IN, save_figure
from irlvla.tables import LABEL, SUFFIXES, write_table

STAGES = (
    "data", "semantic_reasoning", "imitation", "reward_data", "reward_world_model",
    "reinforcement", "evaluation", "closed_loop", "figures",
)  # fmt: skip


class Publication:
    """A folder of figures and tables. `data` are paths below `runs`, whose first part is the stage that makes them."""

    def __init__(self, runs: Path, folder: Path, formats: Sequence[str]):
        self.runs, self.folder, self.formats = Path(runs), Path(folder), tuple(formats)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries: list[dict] = []

    def figure(self, name: str, figure: Figure, data: Sequence[str], shows: str) -> None:
        """Save a figure in all formats, exactly as wide as one or two columns of a paper.

        Raises ValueError for another width, a name that is taken, or data that are not there.
        """
        if figure.get_figwidth() not in (COLUMN_IN, PAGE_IN):
            raise ValueError(f"figure {name}: {figure.get_figwidth()} inches wide, not {COLUMN_IN} or {PAGE_IN}")
        with plt.rc_context({"savefig.bbox": None}):
            save_figure(figure, self.folder / name, self.formats)
        self._enter(name, "figure", data, shows, self.formats)

    def table(self, name: str, frame: pd.DataFrame, data: Sequence[str], shows: str, note: str, **reading) -> None:
        """Save a table as CSV, Markdown and LaTeX; `note` and `reading` as in `tables.write_table`."""
        write_table(frame, self.folder / name, shows, note, **reading)
        self._enter(name, "table", data, shows, SUFFIXES)

    def copy(self, saved: str, shows: str) -> None:
        """Publish a figure that a stage drew itself, by its path below `runs` without suffix, under the same name.

        Raises FileNotFoundError if the stage saved none.
        """
        files = sorted((self.runs / saved).parent.glob(f"{Path(saved).name}.*"))
        if not files:
            raise FileNotFoundError(f"{self.runs / saved}.*: no such figure; run the notebook of its stage")
        for file in files:
            shutil.copyfile(file, self.folder / file.name)
        data = [file.relative_to(self.runs).as_posix() for file in files]
        self._enter(Path(saved).name, "figure", data, shows, [file.suffix[1:] for file in files])

    def _enter(self, name: str, kind: str, data: Sequence[str], shows: str, suffixes: Sequence[str]) -> None:
        if name in [entry["name"] for entry in self.entries]:
            raise ValueError(f"{name} is published already")
        if missing := [path for path in data if not (self.runs / path).exists()]:
            raise ValueError(f"{name}: {self.runs / missing[0]} is not there")
        stages = sorted({Path(path).parts[0] for path in data}, key=STAGES.index)
        numbers = [f"{STAGES.index(stage) + 1:02d}" for stage in stages]
        self.entries.append({
            "name": name, "kind": kind, "notebook": ", ".join(numbers), "data": list(data),
            "command": " ".join(["dvc repro", *stages, "figures"]), "shows": shows,
            "files": [f"{name}.{suffix}" for suffix in suffixes],
        })  # fmt: skip

    def write_index(self) -> str:
        """Write `index.md` and `index.json`, and return the page."""
        lines = ["# Figures and tables", "", f"{LABEL}. A command makes the data and then this folder again.", "",
                 "| name | shows | notebook | data below `runs/` | command |", "|---|---|---|---|---|"]  # fmt: skip
        for entry in self.entries:
            files = ", ".join(f"[{file}]({file})" for file in entry["files"])
            data = ", ".join(f"`{path}`" for path in entry["data"])
            lines.append(f"| {files} | {entry['shows']} | {entry['notebook']} | {data} | `{entry['command']}` |")
        page = "\n".join(lines) + "\n"
        for name, text in (("index.md", page), ("index.json", json.dumps(self.entries, indent=1) + "\n")):
            waiting = self.folder / f"{name}.tmp"
            waiting.write_text(text)
            os.replace(waiting, self.folder / name)
        return page
