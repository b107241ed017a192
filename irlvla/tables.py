"""A table under one name in three forms: CSV for programs, Markdown for pages, LaTeX (booktabs) for papers.

The CSV holds every column with six decimals. The other two are for readers: three decimals, `score`, `low`, `high`
joined to `0.573 [0.466, 0.672]`, and a caption that says what the numbers are not.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

LABEL = "Embedded world, not comparable with published NAVSIM scores"
SUFFIXES = ("csv", "md", "tex")
MISSING = "-"
ROWS_OF_A_PAGE = 40  # longer tables may break over pages in LaTeX
LATEX_ESCAPES = str.maketrans({char: f"\\{char}" for char in "_%&#$"})


def write_table(
    frame: pd.DataFrame, path_without_suffix: Path, shows: str, note: str,
    columns: Sequence[str] | None = None, turned: bool = False,
) -> None:  # fmt: skip
    """Write `frame` as CSV, Markdown and LaTeX; each file appears complete or not at all.

    Args:
        shows: what the table shows, the begin of the caption.
        note: number of cases and seeds, the end of the caption.
        columns: those that readers see; None: all.
        turned: readers see rows as columns, for a table with few rows and many columns.

    Raises ValueError if a level of the index has no name: it would have no header in the CSV.
    """
    path = Path(path_without_suffix)
    if None in frame.index.names:
        raise ValueError(f"table {path.name}: the index needs a name; use `rename_axis`")
    shown = readable(frame if columns is None else frame[list(columns)])
    if turned:
        shown = (
            shown.set_index(shown.columns[0]).T.rename_axis(None, axis=1).rename_axis(shown.columns[0]).reset_index()
        )
    caption = f"{shows}. {LABEL}; {note}."
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path.with_name(f"{path.name}.csv"), frame.to_csv(float_format="%.6f"))
    text = shown.to_markdown(index=False, disable_numparse=True)
    _write(path.with_name(f"{path.name}.md"), f"{caption}\n\n{text}\n")
    latex = shown.to_latex(
        index=False, escape=True, caption=caption.translate(LATEX_ESCAPES), label=f"tab:{path.name}",
        longtable=len(shown) > ROWS_OF_A_PAGE,
    )  # fmt: skip
    _write(path.with_name(f"{path.name}.tex"), latex)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as text, index first: three decimals, words without underscores, intervals beside their values."""
    names, columns, position = list(frame.columns), {}, 0
    while position < len(names):
        name, low, high = (*names[position : position + 3], "", "")[:3]
        values = frame.iloc[:, position].map(_text)
        if low.endswith("low") and high.endswith("high"):
            bounds = (frame.iloc[:, position + step].map(_text) for step in (1, 2))
            values = values + " [" + next(bounds) + ", " + next(bounds) + "]"
            position += 2
        columns[name.replace("_", " ")] = values
        position += 1
    return pd.DataFrame(columns, index=frame.index).reset_index()


def _text(value: object) -> str:
    if pd.isna(value):
        return MISSING
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    waiting = path.with_name(f"{path.name}.tmp")
    waiting.write_text(text, encoding="utf-8")
    os.replace(waiting, path)
