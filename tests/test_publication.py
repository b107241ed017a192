"""The index names for each figure and table what it comes from; nothing enters it that is not there."""

import json

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import yaml
from test_pipeline import ROOT, STAGES

from irlvla import publication
from irlvla.plots import COLUMN_IN, set_style


@pytest.fixture
def published(tmp_path):
    for path in ("evaluation/table.csv", "imitation/history.csv", "imitation/figures/objects.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
    set_style()
    yield publication.Publication(tmp_path, tmp_path / "figures" / "published", ("png", "pdf"))
    plt.close("all")


def figure(width: float = COLUMN_IN):
    return plt.subplots(figsize=(width, 1.0))[0]


def test_stages_are_those_of_the_pipeline():
    assert list(publication.STAGES) == STAGES == list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_page_and_list_name_notebook_data_command_and_files(published):
    published.figure("curves", figure(), ["evaluation/table.csv", "imitation/history.csv"], "what is learned")
    published.table("scores", pd.DataFrame({"a": [1]}).rename_axis("i"), ["evaluation/table.csv"], "Scores", "n = 1")
    page = published.write_index()
    first, second = json.loads((published.folder / "index.json").read_text())
    assert first == {
        "name": "curves", "kind": "figure", "notebook": "03, 07",
        "data": ["evaluation/table.csv", "imitation/history.csv"],
        "command": "dvc repro imitation evaluation figures", "shows": "what is learned",
        "files": ["curves.png", "curves.pdf"],
    }  # fmt: skip
    assert second["kind"] == "table" and second["files"] == ["scores.csv", "scores.md", "scores.tex"]
    assert all((published.folder / file).exists() for entry in (first, second) for file in entry["files"])
    assert page == (published.folder / "index.md").read_text() and "`dvc repro evaluation figures`" in page


def test_a_figure_is_as_wide_as_a_column(published):
    published.figure("curves", figure(), ["evaluation/table.csv"], "what is learned")
    pixels = plt.imread(published.folder / "curves.png").shape[1]
    assert pixels == pytest.approx(COLUMN_IN * plt.rcParams["savefig.dpi"], abs=1)
    with pytest.raises(ValueError, match="figure wide: 5.0 inches"):
        published.figure("wide", figure(5.0), ["evaluation/table.csv"], "too wide")


def test_a_figure_of_a_stage_is_copied_with_its_source(published):
    published.copy("imitation/figures/objects", "objects")
    assert (published.folder / "objects.png").read_text() == "1"
    assert published.entries[0]["data"] == ["imitation/figures/objects.png"]
    with pytest.raises(FileNotFoundError, match="figures/segments"):
        published.copy("imitation/figures/segments", "classes")


def test_missing_data_and_a_name_used_twice_are_refused(published):
    with pytest.raises(ValueError, match="curves: .*history_rlvr.csv is not there"):
        published.figure("curves", figure(), ["reinforcement/history_rlvr.csv"], "what is learned")
    published.figure("curves", figure(), ["evaluation/table.csv"], "what is learned")
    with pytest.raises(ValueError, match="curves is published already"):
        published.figure("curves", figure(), ["evaluation/table.csv"], "again")
