"""Splits and scene filters: read as the official YAML files state them, and what is wrong in them is named."""

from dataclasses import replace

import navsim_tiny
import pytest
import yaml
from navsim_tiny import ROOT

from irlvla.scenes.navsim import Dataset
from irlvla.scenes.split import load_split
from irlvla.world.export import write_split


def test_a_filter_may_stand_in_the_split_itself(tmp_path):
    by_name = load_split(navsim_tiny.split_yaml("one"))
    inner = yaml.safe_load((ROOT / "splits/scene_filter/tiny_one_stage.yaml").read_text())
    path = tmp_path / "split.yaml"
    path.write_text(yaml.safe_dump({"data_split": "test", "scene_filter": inner}))
    assert load_split(path) == by_name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scene_filter": {}}, "data_split is missing"),
        ({"data_split": "test"}, "no scene_filter"),
        ({"data_split": "test", "scene_filter": {"tokenz": []}}, "unknown keys in the scene filter: tokenz"),
        (
            {"data_split": "test", "scene_filter": {}, "reactive_all_mapping": [["a", "b"]]},
            r"reactive_all_mapping\[0\]",
        ),
    ],
)
def test_a_wrong_split_is_named(tmp_path, content, message):
    path = tmp_path / "split.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=f"split.yaml.*{message}"):
        load_split(path)


def test_wanted_tokens_and_logs_that_are_absent_are_errors():
    split = load_split(navsim_tiny.split_yaml("one"))
    with pytest.raises(ValueError, match="token 0000000000000000 is in no frame of its 2 logs"):
        Dataset(ROOT, replace(split, scene_filter=replace(split.scene_filter, tokens=("0" * 16,))))
    with pytest.raises(ValueError, match="nowhere.pkl: log is missing"):
        Dataset(ROOT, replace(split, scene_filter=replace(split.scene_filter, log_names=("nowhere",), tokens=None)))
    with pytest.raises(ValueError, match="no logs"):
        Dataset(ROOT, replace(split, data_split="train"))


def test_tokens_that_look_like_numbers_are_quoted(tmp_path):
    """OmegaConf, which reads the file officially, takes a bare 796924985e994116 for a float."""
    tokens = ["796924985e994116", "0123456789012389", "12345e7a90123456"]
    write_split(tmp_path, "split", "train", ["log-000"], tokens, ["1e234567890123456"], [[*tokens[:2], [tokens[:2]]]])
    text = (tmp_path / "split.yaml").read_text() + (tmp_path / "scene_filter/split.yaml").read_text()
    bare = {word for word in text.split() if word[0].isdigit()}
    assert bare == {"4", "8", "1", "12345e7a90123456"}  # the frame counts and the one token that no reader mistakes
    split = load_split(tmp_path / "split.yaml")
    assert split.scene_filter.tokens == tuple(tokens)
    assert split.groups[0].now == tokens[0]
