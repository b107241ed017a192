"""`python -m irlvla.epdms score` and the table behind it, against the official CSV files."""

import re

import navsim_tiny
import numpy as np
import pandas as pd
import pytest
import yaml
from navsim_tiny import ROOT, STAGES, dataset, split_yaml

from irlvla.epdms.__main__ import main
from irlvla.epdms.score_dataset import COLUMNS, load_plans, score_dataset, write_csv

TEXT = ["log_name", "valid"]


def _assert_same_table(table: pd.DataFrame, answers: pd.DataFrame) -> None:
    table = table.set_index("token")
    assert set(table.index) == set(answers.index)
    assert set(answers.columns) <= set(table.columns)
    for name in answers.columns.difference(TEXT):
        got = table.loc[answers.index, name].astype(float)
        np.testing.assert_allclose(got, answers[name].astype(float), atol=1e-6, err_msg=name)
    for name in TEXT:
        pd.testing.assert_series_equal(
            table.loc[answers.index, name].astype(str), answers[name].astype(str), check_dtype=False
        )


@pytest.mark.parametrize("stage", STAGES)
def test_the_table_is_the_official_one_token_by_token(stage):
    table = score_dataset(dataset(stage), navsim_tiny.plans(stage, "plans"), reactive=stage == "two", workers=1)
    assert tuple(table.columns) == COLUMNS
    _assert_same_table(table, navsim_tiny.official(stage, "plans"))


def test_the_command_writes_the_official_human_table(tmp_path, capsys):
    plans = navsim_tiny.plans("one", "human")
    np.savez(tmp_path / "plans.npz", tokens=np.array(list(plans)), poses=np.stack(list(plans.values())))
    arguments = ["score", str(ROOT), str(tmp_path / "plans.npz"), "--split", str(split_yaml("one")), "--workers", "1"]
    assert main([*arguments, "--out", str(tmp_path / "new/folder/scores.csv")]) == 0
    _assert_same_table(pd.read_csv(tmp_path / "new/folder/scores.csv"), navsim_tiny.official("one", "human"))
    assert capsys.readouterr().out.startswith("average_all_frames 0.95256")
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["scores.csv"]


def test_the_command_takes_maps_and_traffic_from_its_options(tmp_path):
    inner = yaml.safe_load((ROOT / "splits/scene_filter/tiny_one_stage.yaml").read_text())
    inner["tokens"] = inner["tokens"][:2]
    (tmp_path / "split.yaml").write_text(yaml.safe_dump({"data_split": "test", "scene_filter": inner}))
    options = ["--split", str(tmp_path / "split.yaml"), "--maps", str(ROOT / "maps"), "--workers", "1"]
    scores = {}
    for traffic in ("replay", "reactive"):
        out = tmp_path / f"{traffic}.csv"
        plans = str(ROOT / "official/one_stage_plans.npz")
        assert main(["score", str(ROOT), plans, *options, "--traffic", traffic, "--out", str(out)]) == 0
        scores[traffic] = pd.read_csv(out)
        assert len(scores[traffic]) == 3
    assert (scores["replay"]["token"] == scores["reactive"]["token"]).all()
    assert np.abs(scores["replay"]["progress_m"] - scores["reactive"]["progress_m"])[:2].max() < 1e-9


def test_columns_for_filter_variants_and_reasons():
    table = score_dataset(dataset("one"), navsim_tiny.plans("one", "plans"), reactive=False, workers=1)
    rows = table[table["stage"].notna()]
    assert (rows["score_no_filter"] <= rows["score"] + 1e-12).all()
    faulty = rows["no_at_fault_collisions"] < 1
    assert faulty.any() and (rows["infractions"].str.contains("no_at_fault_collisions") == faulty).all()
    named = rows["reasons"].str.extract(r"no_at_fault_collisions (\d\.\d) s (\w+) (\w+)", expand=True)
    assert named[faulty].notna().all(axis=None)
    for token, (_, kind, track) in zip(rows["token"][faulty], named[faulty].to_numpy(), strict=True):
        tracks = dataset("one").scene(token).tracks
        assert tracks.categories[tracks.tokens.index(track)] == kind


def _plans_file(path, change):
    arrays = dict(np.load(ROOT / "official/one_stage_plans.npz"))
    change(arrays)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["poses"].__setitem__((2, 3, 1), np.nan), "token {2}: the plan is not finite"),
        (lambda a: a.update(poses=a["poses"][:, :6]), r"token {0}: plan of shape \(6, 3\)"),
        (lambda a: a["tokens"].__setitem__(1, a["tokens"][0]), "token {0} occurs twice"),
        (lambda a: a.update(tokens=a["tokens"][:-1], poses=a["poses"][:-1]), "token {20} has no plan"),
        (lambda a: a.pop("poses"), "missing poses"),
        (lambda a: a.update(tokens=a["tokens"][:5]), "5 tokens, but 21 plans"),
    ],
)
def test_wrong_plans_are_named_and_nothing_is_written(tmp_path, capsys, change, message):
    tokens = np.load(ROOT / "official/one_stage_plans.npz")["tokens"]
    path = _plans_file(tmp_path / "plans.npz", change)
    arguments = ["score", str(ROOT), str(path), "--split", str(split_yaml("one")), "--workers", "1"]
    assert main([*arguments, "--out", str(tmp_path / "scores.csv")]) == 1
    error = capsys.readouterr().err
    assert re.search(message.format(*tokens), error), error
    assert not (tmp_path / "scores.csv").exists()


def test_plans_of_other_scenes_are_not_in_the_way(tmp_path):
    path = _plans_file(tmp_path / "plans.npz", lambda a: a["tokens"].__setitem__(0, "f" * 16))
    assert "f" * 16 in load_plans(path)


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")

    class Broken(pd.DataFrame):
        def to_csv(self, *args, **kwargs):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_csv(Broken({"a": [1]}), path)
    assert path.read_text() == "old"
