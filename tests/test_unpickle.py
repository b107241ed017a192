"""Pickles of plain data are read as they were written; any other is refused by name, and nothing is run."""

import os
import pickle
import random

import numpy as np
import pytest
from navsim_tiny import LOG, ROOT

from irlvla.scenes.unpickle import load_data_pickle


class _Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (_Call(os.system, "touch owned"), "system"),
        (_Call(eval, "open('owned', 'w')"), "builtins.eval"),
        (_Call(np.load, "owned"), r"numpy\.load"),
        (_Call(getattr, 1, "real"), "builtins.getattr"),
        (np.array([_Call(os.system, "touch owned")], dtype=object), "system"),
        (LOG.encode().decode, "getattr"),
    ],
)
def test_a_pickle_that_calls_code_is_refused_by_name(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([{"token": content}]))
    with pytest.raises(ValueError, match=f"evil.pkl: refused pickle: it names .*{name}, which is not plain data"):
        load_data_pickle(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_scalars_and_containers_are_read_as_written(tmp_path, protocol):
    content = {
        "array": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.eye(3)),
        "scalar": np.float32(1.5),
        "text": np.array(["x"]),
        "objects": np.array([1, "x"], dtype=object),
        "set": {1, 2},
        "bytes": b"\xff",
        "none": None,
        "empty": np.zeros((0, 7)),
    }
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = load_data_pickle(path)
    assert read.keys() == content.keys()
    for key, value in content.items():
        np.testing.assert_array_equal(read[key], value)


def test_numpy_1_and_numpy_2_pickles_are_both_read():
    scenes = (ROOT / "navhard_two_stage/synthetic_scene_pickles").glob("*.pkl")
    names = {module for path in scenes for module in (b"numpy.core", b"numpy._core") if module in path.read_bytes()}
    assert names == {b"numpy.core", b"numpy._core"}
    for path in (ROOT / "navhard_two_stage/synthetic_scene_pickles").glob("*.pkl"):
        assert load_data_pickle(path)["scene_metadata"]["scene_token"] == path.stem


def test_a_truncated_pickle_names_its_file(tmp_path):
    path = tmp_path / "cut.pkl"
    path.write_bytes(pickle.dumps(list(range(1000)))[:-50])
    with pytest.raises(ValueError, match=r"cut\.pkl: damaged or truncated pickle"):
        load_data_pickle(path)


def test_a_codec_that_is_not_of_numpy_is_refused(tmp_path):
    path = tmp_path / "codec.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vtext\nVrot13\ntR.")
    with pytest.raises(ValueError, match=r"codec\.pkl.*codec 'rot13'"):
        load_data_pickle(path)


def test_a_pickle_cannot_change_what_reads_the_next_one(tmp_path):
    path, plain = tmp_path / "patch.pkl", tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(b"\xff", protocol=2))  # read through the codec function
    path.write_bytes(b"c_codecs\nencode\n(N}Vx\nI1\nstb.")  # sets its attribute x
    with pytest.raises(ValueError, match=r"patch\.pkl: damaged"):
        load_data_pickle(path)
    assert load_data_pickle(plain) == b"\xff"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (np.dtype([("x", float)]), "data type 'V8'"),
        (np.dtype("M8[s]"), "data type 'M8'"),
        (np.dtype("V4"), "data type 'V4'"),
    ],
)
def test_arrays_of_records_and_dates_are_refused_by_type(tmp_path, kind, message):
    path = tmp_path / "kind.pkl"
    path.write_bytes(pickle.dumps(np.zeros(2, kind)))
    with pytest.raises(ValueError, match=f"kind.pkl.*{message}"):
        load_data_pickle(path)


def test_an_array_of_other_size_than_its_contents_is_refused(tmp_path):
    path = tmp_path / "size.pkl"
    path.write_bytes(pickle.dumps(np.zeros(3), protocol=4).replace(b"K\x03\x85", b"K\x09\x85"))
    with pytest.raises(ValueError, match=r"size\.pkl.*shape \(9,\).*not 72 bytes"):
        load_data_pickle(path)


def test_no_flipped_bytes_get_past_the_error_for_damage(tmp_path):
    """NumPy's own reader crashes the interpreter on some of these: a flag of a data type decides what is a pointer."""
    whole = min((ROOT / "navhard_two_stage/synthetic_scene_pickles").glob("*.pkl")).read_bytes()
    path, rng = tmp_path / "flipped.pkl", random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 10))):
            damaged[rng.randrange(3000)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load_data_pickle(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")


def test_arrays_come_back_as_arrays_that_can_be_written_to_at_any_depth(tmp_path):
    inner = {"list": [np.arange(3)], "tuple": (1, (np.eye(2),)), "objects": np.array([None, [np.ones(1)]], object)}
    path = tmp_path / "deep.pkl"
    path.write_bytes(pickle.dumps([inner]))
    (read,) = load_data_pickle(path)
    for array in (read["list"][0], read["tuple"][1][0], read["objects"][1][0]):
        assert type(array) is np.ndarray and array.flags.writeable
    assert read["tuple"][1][0].tolist() == [[1, 0], [0, 1]]
