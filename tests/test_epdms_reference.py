"""Agreement with the official answers, and the command line around it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from irlvla.epdms.__main__ import main
from irlvla.epdms.reference import check_reference

FOLDER = Path(__file__).parent / "data" / "epdms_reference"


def test_every_column_agrees_with_the_official_answers():
    report = check_reference(FOLDER)
    assert report.agrees, report.lines()
    assert len(report.comparisons) == 20 + 11 + 1 + 6
    assert all(c.compared > 0 for c in report.comparisons.values())


def test_a_wrong_answer_is_noticed(tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    for path in sorted((FOLDER / "scenes").glob("*"))[:2]:
        shutil.copy(path, tmp_path / "scenes")
    answers = next((tmp_path / "scenes").glob("*.expected.npz"))
    arrays = dict(np.load(answers))
    arrays["plain"][3, 0] += 0.5
    np.savez(answers, **arrays)
    assert main(["reference", str(tmp_path)]) == 1
    assert "plain.no_at_fault_collisions 24 1 0.5" in capsys.readouterr().out


def test_bench_prints_milliseconds_per_plan(tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    shutil.copy(FOLDER / "scenes" / "scene0005.npz", tmp_path / "scenes")
    assert main(["bench", str(tmp_path), "--plans", "4"]) == 0
    assert "ms per plan (4 plans, 1 scenes)" in capsys.readouterr().out


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no scenes"):
        check_reference(tmp_path)
