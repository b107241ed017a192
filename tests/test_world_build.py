"""Building a dataset: what it may be stopped by, and what its files are made of."""

import dataclasses
import itertools
import multiprocessing
import os
import pickletools
import signal
import threading
from pathlib import Path

import pytest
from tiny_town import TINY, digests

from irlvla.scenes.unpickle import load_data_pickle
from irlvla.world.build import SYNTHETIC_SCENES, build, summary
from irlvla.world.isolation import isolated

SEED = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "data"
    build(out, SEED, [TINY], workers=2)
    return out


def build_until_killed(out: Path, nth: int) -> int:
    """Exit code of a build that is killed when it is about to rename its `nth` file, of which half is written."""

    def run() -> None:
        replace, numbers = os.replace, itertools.count(1)

        def dying(source: Path, target: Path) -> None:
            if next(numbers) == nth:
                os.truncate(source, Path(source).stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = dying
        build(out, SEED, [TINY], workers=1)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_build_goes_on_to_the_bytes_of_an_undisturbed_one(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert build_until_killed(out, 6) == -signal.SIGKILL  # among the second-stage scenes of the first log
    assert build_until_killed(out, 11) == -signal.SIGKILL  # those again, then the second log
    assert not out.exists()
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data.part").rglob("tiny-000.pkl")}
    build(out, SEED, [TINY], workers=2)
    assert digests(out) == digests(root)
    assert finished == {path.name: path.stat().st_mtime_ns for path in out.rglob("tiny-000.pkl")}  # not made again
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_is_finished_of_another_build_is_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "data"
    build_until_killed(out, 2)
    with pytest.raises(FileExistsError, match="data.part is an unfinished build with another seed: remove it"):
        build(out, SEED + 1, [TINY], workers=1)
    with pytest.raises(FileExistsError, match="another towns"):
        build(out, SEED, [dataclasses.replace(TINY, logs=3)], workers=1)


def test_two_builds_do_not_work_in_one_folder(tmp_path: Path) -> None:
    from irlvla.world.ledger import Ledger, fingerprint

    ledger = Ledger(tmp_path / "data.part", fingerprint(SEED, [TINY]))
    with pytest.raises(BlockingIOError, match="another build is at work there"):
        isolated(build, tmp_path / "data", SEED, [TINY], 1)
    ledger.close()


def test_a_town_that_cannot_be_made_leaves_no_dataset(tmp_path: Path) -> None:
    broken = dataclasses.replace(TINY, command=("netgenerate", "--no-such-option"))
    with pytest.raises(RuntimeError, match="town tiny: netgenerate failed"):
        build(tmp_path / "data", SEED, [broken], workers=1)
    assert not (tmp_path / "data").exists()


def test_an_existing_dataset_is_left_alone(root: Path) -> None:
    with pytest.raises(FileExistsError, match="remove it or name another folder"):
        build(root, SEED, [TINY], workers=1)


def test_no_process_is_forked_while_another_thread_of_the_build_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, fork, beside = set(threading.enumerate()), os.fork, []

    def recorded() -> int:
        beside.append(set(threading.enumerate()) - before)
        return fork()

    monkeypatch.setattr(os, "fork", recorded)
    build(tmp_path / "data", SEED, [dataclasses.replace(TINY, groups=0)], workers=2)
    assert beside == 3 * [set()]  # a town, two logs; the processes of their draws are forked by theirs


def pickles(root: Path) -> list[Path]:
    return [*root.glob("navsim_logs/*/*.pkl"), *(root / SYNTHETIC_SCENES).glob("*.pkl")]


def test_pickles_name_only_what_numpy_1_26_has_too(root: Path) -> None:
    for path in pickles(root):
        words = {argument for _, argument, _ in pickletools.genops(path.read_bytes()) if isinstance(argument, str)}
        named = {word for word in words if word.startswith("numpy")}
        assert named <= {"numpy", "numpy._core.multiarray"}, path  # 1.26 has no numpy._core.numeric


def test_what_is_equal_in_many_frames_is_stored_once(root: Path) -> None:
    for path in pickles(root):
        content = load_data_pickle(path)
        frames = content if isinstance(content, list) else content["frames"]
        lights = [frame["traffic_lights"] for frame in frames]
        assert len({id(each) for each in lights}) == len({tuple(each) for each in lights}), path
        names = [name for frame in frames for name in frame.get("anns", frame.get("annotations")).get("gt_names", ())]
        assert len({id(name) for name in names}) == len(set(names)), path
    sizes = [path.stat().st_size for path in (root / SYNTHETIC_SCENES).glob("*.pkl")]
    assert max(sizes) < 20_000


def test_future_frames_of_second_stage_scenes_have_objects_but_no_cameras(root: Path) -> None:
    for path in (root / SYNTHETIC_SCENES).glob("*.pkl"):
        frames = load_data_pickle(path)["frames"]
        assert [bool(frame["camera_dict"]["CAM_F0"]) for frame in frames] == 4 * [True] + 8 * [False]
        assert all(len(frame["camera_dict"]) == 8 for frame in frames)
        assert len({frame["token"] for frame in frames}) == 12


def test_the_summary_counts_every_draw() -> None:
    logs = [
        {"scenario": "a", "rejections": [["b", "contact with v12"], ["b", "contact with v7"]], "follow_ups": []},
        {"scenario": "b", "rejections": [], "follow_ups": [{"variant": "kerb"}]},
    ]
    assert summary(logs) == [
        "2 logs of 4 draws (2.0 per log)", "  a: 1 of 1 draws", "  b: 1 of 3 draws",
        "  rejected 2: contact with vN", "  follow-ups kerb: 1",
    ]  # fmt: skip
