"""The index of a dataset's files never goes stale, and never keeps anyone from their data."""

import pickle
import warnings

import pytest

from irlvla.scenes import index
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.split import SceneFilter, Split

EVERY_FRAME = Split("test", SceneFilter(num_history_frames=1, num_future_frames=0))


def write_log(root, name, tokens):
    folder = root / "navsim_logs/test"
    folder.mkdir(parents=True, exist_ok=True)
    frames = [{"token": token, "roadblock_ids": ["1"]} for token in tokens]
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(frames))


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """Names of the files that were summarized; the memory is this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = []
    monkeypatch.setattr(
        "irlvla.scenes.navsim.load_data_pickle",
        lambda path: names.append(path.stem) or pickle.loads(path.read_bytes()),
    )
    return names


def test_only_logs_that_changed_are_read_again(tmp_path, reads):
    write_log(tmp_path, "a", ["a0", "a1"])
    write_log(tmp_path, "b", ["b0"])
    assert Dataset(tmp_path, EVERY_FRAME).tokens == ("a0", "a1", "b0") and reads == ["a", "b"]
    assert Dataset(tmp_path, EVERY_FRAME).tokens == ("a0", "a1", "b0") and reads == ["a", "b"]
    write_log(tmp_path, "b", ["b5"])  # of the same size
    assert Dataset(tmp_path, EVERY_FRAME).tokens == ("a0", "a1", "b5") and reads == ["a", "b", "b"]


def test_added_and_removed_logs_are_noticed(tmp_path, reads):
    write_log(tmp_path, "a", ["a0"])
    write_log(tmp_path, "b", ["b0"])
    Dataset(tmp_path, EVERY_FRAME)
    write_log(tmp_path, "c", ["c0"])
    (tmp_path / "navsim_logs/test/a.pkl").unlink()
    assert Dataset(tmp_path, EVERY_FRAME).tokens == ("b0", "c0") and reads == ["a", "b", "c"]


def test_a_log_that_changes_while_the_dataset_is_open_is_named(tmp_path, reads):
    write_log(tmp_path, "a", ["a0"])
    opened = Dataset(tmp_path, EVERY_FRAME)
    write_log(tmp_path, "a", ["a9"])
    with pytest.raises(ValueError, match=r"a\.pkl: frame a0: the log was changed"):
        opened.scene("a0")


def test_a_damaged_index_is_a_warning(tmp_path, reads):
    write_log(tmp_path, "a", ["a0"])
    index.index_path().parent.mkdir(parents=True)
    index.index_path().write_bytes(b"half of an index" * 100)
    with pytest.warns(UserWarning, match="delete it"):
        assert Dataset(tmp_path, EVERY_FRAME).tokens == ("a0",)


def test_a_cache_folder_that_cannot_be_written_is_a_warning(tmp_path, reads):
    write_log(tmp_path, "a", ["a0"])
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="logs are read again"):
        assert Dataset(tmp_path, EVERY_FRAME).tokens == ("a0",)


def test_a_read_only_root_is_indexed_without_being_touched(tmp_path, reads):
    write_log(tmp_path, "a", ["a0"])
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset(tmp_path, EVERY_FRAME)
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    assert index.index_path().is_relative_to(tmp_path / "cache")


def test_reading_that_was_interrupted_keeps_what_was_read(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(index, "READ_PER_COMMIT", 1)
    write_log(tmp_path, "a", ["a0"])
    (tmp_path / "navsim_logs/test/b.pkl").write_bytes(pickle.dumps([]))
    with pytest.raises(ValueError, match="b.pkl"):
        Dataset(tmp_path, EVERY_FRAME)
    write_log(tmp_path, "b", ["b0"])
    assert Dataset(tmp_path, EVERY_FRAME).tokens == ("a0", "b0") and reads == ["a", "b", "b"]
