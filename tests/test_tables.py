"""Tables in three forms: the same numbers, the label, and nothing that LaTeX would choke on."""

import numpy as np
import pandas as pd
import pytest

from irlvla.tables import LABEL, readable, write_table

FRAME = pd.DataFrame(
    {"score": [0.5, 1 / 3], "score_low": [0.4, 0.3], "score_high": [0.6, np.nan], "scenes": [10, 20]},
    index=pd.Index(["IL_10% & more", "other"], name="agent"),
)


@pytest.fixture
def written(tmp_path):
    write_table(FRAME, tmp_path / "of_all", "Scores of 95 % of all", "20 scenes, seed 0")
    return {path.suffix[1:]: path.read_text() for path in tmp_path.iterdir()}


def test_a_table_is_there_in_three_forms_and_no_half_one(written):
    assert set(written) == {"csv", "md", "tex"}


def test_the_csv_gives_back_the_numbers(tmp_path):
    write_table(FRAME, tmp_path / "of_all", "Scores", "20 scenes")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "of_all.csv", index_col="agent"), FRAME, atol=1e-6)


def test_readers_are_told_what_the_scores_are_not_and_of_how_many(written):
    for suffix in ("md", "tex"):
        assert LABEL in written[suffix] and "20 scenes, seed 0" in written[suffix]


def test_latex_has_no_bare_underscore_percent_or_ampersand_of_ours(written):
    assert r"IL\_10\% \& more & 0.500 [0.400, 0.600] & 10 \\" in written["tex"]
    assert r"\caption{Scores of 95 \% of all." in written["tex"]
    assert r"\toprule" in written["tex"] and r"\label{tab:of_all}" in written["tex"]


def test_an_interval_stands_beside_its_value():
    shown = readable(FRAME)
    assert list(shown.columns) == ["agent", "score", "scenes"]
    assert shown["score"].tolist() == ["0.500 [0.400, 0.600]", "0.333 [0.300, -]"]
    assert shown["scenes"].tolist() == ["10", "20"]


def test_readers_see_only_the_columns_asked_for_and_the_csv_has_all(tmp_path):
    write_table(FRAME, tmp_path / "few", "Scores", "n", columns=["scenes"])
    assert "0.500" not in (tmp_path / "few.md").read_text() and "0.500" in (tmp_path / "few.csv").read_text()


def test_a_turned_table_has_a_column_per_row(tmp_path):
    write_table(FRAME, tmp_path / "turned", "Scores", "n", turned=True)
    header = (tmp_path / "turned.md").read_text().splitlines()[2]
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["agent", "IL_10% & more", "other"]
    assert pd.read_csv(tmp_path / "turned.csv")["agent"].tolist() == list(FRAME.index)


def test_a_long_table_may_break_over_pages(tmp_path):
    write_table(pd.concat([FRAME] * 30), tmp_path / "long", "Scores", "n")
    assert r"\begin{longtable}" in (tmp_path / "long.tex").read_text()


def test_an_index_without_a_name_is_refused_by_the_table_s_name(tmp_path):
    with pytest.raises(ValueError, match="table of_all: the index needs a name"):
        write_table(FRAME.rename_axis(None), tmp_path / "of_all", "Scores", "n")
    assert not list(tmp_path.iterdir())
