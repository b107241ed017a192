"""Reading datasets in NAVSIM format: logs, second-stage scenes, splits, maps, and what is refused."""

import enum
import os
import pickle
import shutil
import sys
import types
from dataclasses import replace

import geopandas
import navsim_tiny
import numpy as np
import pyogrio
import pytest
import yaml
from navsim_tiny import LOG, ROOT, dataset

from irlvla.epdms.build import scoring_context
from irlvla.epdms.scores import score_plans
from irlvla.geometry import global_from_local
from irlvla.scenes.maps import load_map, read_geopackage
from irlvla.scenes.navsim import SYNTHETIC_SCENES, Dataset
from irlvla.scenes.scene import CAMERAS, CATEGORIES
from irlvla.scenes.split import SceneFilter, Split, load_split
from irlvla.scenes.unpickle import load_data_pickle

MAP_NAME = "us-nv-las-vegas-strip"
GPKG = ROOT / "maps" / MAP_NAME / "0.0.1" / "map.gpkg"


# ------------------------------------------------------------------ scenes


@pytest.mark.parametrize("stage", navsim_tiny.STAGES)
def test_the_logged_future_ends_where_the_official_reader_says(stage):
    answers = navsim_tiny.official(stage, "human")
    for scene in dataset(stage):
        row = answers.loc[scene.token]
        end = global_from_local(scene.ego_pose, scene.human_plan())[-1]
        np.testing.assert_allclose(end[:2], row[["endpoint_x", "endpoint_y"]].astype(float), atol=1e-6)
        np.testing.assert_allclose(scene.ego_pose[:2], row[["start_point_x", "start_point_y"]].astype(float), atol=1e-9)
        assert scene.timestamp_us[scene.now] * 1e-6 == pytest.approx(row["start_time"], abs=1e-6)
        assert scene.log_name == row["log_name"] and scene.is_synthetic == (row["stage"] == 2)


def test_tokens_are_those_of_the_filter():
    split = load_split(navsim_tiny.split_yaml("two"))
    wanted = {*split.scene_filter.tokens, *split.scene_filter.reactive_synthetic_initial_tokens}
    assert set(dataset("two").tokens) == wanted == {token for group in split.groups for token in group.tokens}
    assert [len(group.follow_ups) for group in split.groups] == [3, 3, 3]


def test_without_tokens_every_window_that_fits_is_a_scene():
    everything = Dataset(ROOT, Split("test", SceneFilter(num_future_frames=8)))
    assert len(everything) == 2 * (41 - 12 + 1)
    apart = Dataset(ROOT, Split("test", SceneFilter(num_future_frames=8, frame_interval=None)))
    assert len(apart) == 2 * (41 // 12)
    assert len(Dataset(ROOT, Split("test", SceneFilter(max_scenes=5)))) == 5


def test_a_scene_has_its_window_in_one_frame_of_reference():
    scene = dataset("one").scene("99a0274ba8fbc517")
    log = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    now = next(i for i, frame in enumerate(log) if frame["token"] == scene.token)
    assert scene.now == 3 and scene.ego_poses.shape == (14, 3) and scene.num_future_frames == 10
    assert scene.route_roadblock_ids == tuple(log[now]["roadblock_ids"])
    assert scene.red_connectors[3] == tuple(str(id) for id, red in log[now]["traffic_lights"] if red)
    for row, frame in enumerate(log[now - 3 : now + 11]):
        boxes = frame["anns"]["gt_boxes"]
        for box, token in zip(boxes, frame["anns"]["track_tokens"], strict=True):
            column = scene.tracks.tokens.index(token)
            pose = scene.tracks.poses[row, column]
            offset = pose[:2] - scene.ego_poses[row, :2]
            assert scene.tracks.valid[row, column] and np.hypot(*offset) == pytest.approx(np.hypot(*box[:2]))
            np.testing.assert_allclose(scene.tracks.size_m[row, column], box[3:6])
            assert -np.pi <= pose[2] <= np.pi
    assert scene.tracks.tokens[: len(boxes)] == tuple(log[now]["anns"]["track_tokens"])  # the order of reactive traffic


def test_velocities_turn_with_the_ego_and_stand_still_for_static_objects():
    for scene in dataset("one"):
        moving = np.array([category in ("vehicle", "pedestrian", "bicycle") for category in scene.tracks.categories])
        assert not scene.tracks.velocity_mps[:, ~moving].any()
        fast = np.linalg.norm(scene.tracks.velocity_mps, axis=-1) > 1
        steps = np.diff(scene.tracks.poses[..., :2], axis=0) / 0.5
        both = fast[1:] & fast[:-1] & scene.tracks.valid[1:] & scene.tracks.valid[:-1]
        assert np.abs(steps - scene.tracks.velocity_mps[:-1])[both].max() < 1.5  # positions agree with the velocities


def test_image_size_is_that_of_the_file_else_of_the_calibration(tmp_path):
    scene = dataset("one").scene("99a0274ba8fbc517")
    assert dataset("one").image_path(scene, "CAM_F0").is_file()
    assert (scene.cameras["CAM_F0"].width_px, scene.cameras["CAM_F0"].height_px) == (96, 54)
    elsewhere = Dataset(ROOT, navsim_tiny.split_yaml("one"), sensor_blobs=tmp_path)
    other = elsewhere.scene("99a0274ba8fbc517").cameras["CAM_F0"]
    assert (other.width_px, other.height_px) == (96, 54)
    forward = other.ego_from_camera[:3, 2]
    np.testing.assert_allclose(forward, [1, 0, 0], atol=1e-12)


def test_cameras_that_were_not_recorded_are_left_out():
    scene = dataset("one").scene("99a0274ba8fbc517")
    assert set(scene.cameras) == {"CAM_F0"} < set(CAMERAS)


def test_a_second_stage_scene_knows_its_first_stage():
    split = dataset("two").split
    for group in split.groups:
        for now, previous in group.follow_ups:
            scene, before = dataset("two").scene(now), dataset("two").scene(previous)
            assert scene.is_synthetic and len(scene.token) == 17
            assert {scene.original_token, before.original_token} == {group.now, group.previous}
            assert scene.timestamp_us[3] - before.timestamp_us[3] == 500_000


# ------------------------------------------------------------------ splits


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
    with pytest.raises(ValueError, match="token 0000000000000000 is in no complete window"):
        Dataset(ROOT, replace(split, scene_filter=replace(split.scene_filter, tokens=("0" * 16,))))
    with pytest.raises(ValueError, match="nowhere.pkl: log is missing"):
        Dataset(ROOT, replace(split, scene_filter=replace(split.scene_filter, log_names=("nowhere",), tokens=None)))
    with pytest.raises(ValueError, match="no logs"):
        Dataset(ROOT, replace(split, data_split="train"))


# ------------------------------------------------------------------ damaged logs


def _damaged(tmp_path, damage):
    """A dataset of one log whose frame 5 went through `damage`."""
    frames = pickle.loads((ROOT / "navsim_logs/test" / f"{LOG}.pkl").read_bytes())
    damage(frames[5])
    folder = tmp_path / "navsim_logs/test"
    folder.mkdir(parents=True)
    (folder / f"{LOG}.pkl").write_bytes(pickle.dumps(frames))
    return Dataset(tmp_path, Split("test", SceneFilter(num_future_frames=8)), maps=ROOT / "maps"), frames[5]["token"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda frame: frame.pop("anns"), "key anns is missing"),
        (lambda frame: frame["anns"].pop("gt_boxes"), "anns: key gt_boxes is missing"),
        (lambda frame: frame["anns"].update(gt_names=["tram"] * len(frame["anns"]["gt_names"])), "category 'tram'"),
        (lambda frame: frame["anns"]["track_tokens"].pop(), "one distinct token per box"),
        (lambda frame: frame["anns"]["gt_boxes"].__setitem__((0, 0), np.nan), "gt_boxes: not finite"),
        (lambda frame: frame.update(ego_dynamic_state=[1.0]), "ego_dynamic_state: expected shape"),
        (lambda frame: frame.update(timestamp=0), "timestamp does not advance"),
        (lambda frame: frame.update(map_location="atlantis"), "no map 'atlantis'"),
        (lambda frame: frame["cams"]["CAM_F0"].pop("cam_intrinsic"), "CAM_F0: key cam_intrinsic is missing"),
    ],
)
def test_a_damaged_frame_is_named(tmp_path, damage, message):
    damaged, token = _damaged(tmp_path, damage)
    with pytest.raises(ValueError, match=message) as error:
        damaged.scene(token)
    assert "map" in message or (LOG in str(error.value) and token in str(error.value))


# ------------------------------------------------------------------ pickles


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
        (_Call(np.load, "owned"), "load is not plain data"),
        (_Call(getattr, 1, "real"), "builtins.getattr"),
        (np.array([_Call(os.system, "touch owned")], dtype=object), "system"),
        (LOG.encode().decode, "getattr"),
    ],
)
def test_a_pickle_that_calls_code_is_refused_by_name(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([{"token": content}]))
    with pytest.raises(ValueError, match=name) as error:
        load_data_pickle(path)
    assert str(path) in str(error.value) and not (tmp_path / "owned").exists()


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
    with pytest.raises(ValueError, match=r"cut\.pkl: refused or damaged"):
        load_data_pickle(path)


# ------------------------------------------------------------------ maps


def _layers(path):
    return {
        name: pyogrio.read_dataframe(path, layer=name, fid_as_index=True, read_geometry=kind is not None)
        for name, kind in pyogrio.list_layers(path)
    }


def _write(path, layers):
    for name, frame in layers.items():
        frame = frame.reset_index()
        options = {"layer": name, "driver": "GPKG", "append": path.exists()}
        if isinstance(frame, geopandas.GeoDataFrame):
            pyogrio.write_dataframe(frame, path, layer_options={"FID": "fid"}, **options)
        else:
            pyogrio.write_dataframe(frame.drop(columns="fid"), path, **options)
    return path


def test_lanes_form_a_graph_through_connectors():
    town = load_map(ROOT / "maps", MAP_NAME)
    assert len(town.lanes) == 32 and sum(lane.is_connector for lane in town.lanes.values()) == 16
    for lane in town.lanes.values():
        for following in lane.successors:
            assert lane.id in town.lanes[following].predecessors
            assert town.lanes[following].is_connector != lane.is_connector
            gap = lane.centerline[-1, :2] - town.lanes[following].centerline[0, :2]
            assert np.hypot(*gap) < 0.01
        steps = np.diff(lane.centerline[:, :2], axis=0)
        np.testing.assert_allclose(np.arctan2(steps[:, 1], steps[:, 0]), lane.centerline[:-1, 2], atol=1e-9)
        assert lane.id in town.roadblock_lanes[lane.roadblock_id]


def test_a_map_is_read_once():
    assert load_map(ROOT / "maps", MAP_NAME) is load_map(ROOT / "maps", MAP_NAME)
    copy = pickle.loads(pickle.dumps(load_map(ROOT / "maps", MAP_NAME)))
    assert copy.layers["LANE"].near(copy.lanes["103"].centerline[5, :2], 1.0).tolist() == [0]


def test_a_map_in_degrees_is_projected_back(tmp_path):
    layers = _layers(GPKG)
    for name, frame in layers.items():
        if isinstance(frame, geopandas.GeoDataFrame):
            layers[name] = frame.to_crs("EPSG:4326")
    town, degrees = read_geopackage(GPKG, "m"), read_geopackage(_write(tmp_path / "map.gpkg", layers), "m")
    assert town.lanes.keys() == degrees.lanes.keys()
    for id, lane in town.lanes.items():
        np.testing.assert_allclose(degrees.lanes[id].centerline[:, :2], lane.centerline[:, :2], atol=1e-6)
        assert degrees.lanes[id].successors == lane.successors


@pytest.mark.parametrize(
    ("layer", "column", "message"),
    [
        ("carpark_areas", None, "layer carpark_areas is missing"),
        ("lanes_polygons", "speed_limit_mps", "layer lanes_polygons has no column speed_limit_mps"),
        ("lane_connectors", "exit_lane_fid", "layer lane_connectors has no column exit_lane_fid"),
    ],
)
def test_what_a_map_lacks_is_named(tmp_path, layer, column, message):
    layers = _layers(GPKG)
    if column is None:
        del layers[layer]
    else:
        layers[layer] = layers[layer].drop(columns=column)
    with pytest.raises(ValueError, match=f"map.gpkg: {message}"):
        read_geopackage(_write(tmp_path / "map.gpkg", layers), "m")


def test_a_null_id_does_not_turn_the_others_into_fractions(tmp_path):
    layers = _layers(GPKG)
    table = layers["lane_connectors"]
    table["exit_lane_fid"] = table["exit_lane_fid"].astype(float)
    first = table.index[0]
    table.loc[first, "exit_lane_fid"] = np.nan
    town = read_geopackage(_write(tmp_path / "map.gpkg", layers), "m")
    assert town.lanes[str(first)].predecessors == ()
    others = [lane for lane in town.lanes.values() if lane.is_connector and lane.id != str(first)]
    assert all(town.lanes[id].successors for lane in others for id in lane.predecessors)
    table["lane_group_connector_fid"] = table["lane_group_connector_fid"].astype(float)
    table.loc[first, "lane_group_connector_fid"] = np.nan
    with pytest.raises(ValueError, match=f"lane_connectors, column lane_group_connector_fid: NULL for fid {first}"):
        read_geopackage(_write(tmp_path / "null.gpkg", layers), "m")


def test_a_missing_map_file_is_named(tmp_path):
    shutil.copy(ROOT / "maps/nuplan-maps-v1.0.json", tmp_path)
    with pytest.raises(ValueError, match="map.gpkg: map file is missing"):
        load_map(tmp_path, MAP_NAME)


# ------------------------------------------------------------------ the form of the real navhard data


def _nuplan_module(monkeypatch, name: str) -> types.ModuleType:
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = ".".join(parts[:depth])
        if path not in sys.modules:
            monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    return sys.modules[name]


def _nuplan_class(monkeypatch, module: str, name: str, slots: tuple[str, ...] | None = None) -> type:
    """A class that pickles under nuPlan's name, with attributes or with slots."""

    def __init__(self, **attributes):
        for key, value in attributes.items():
            setattr(self, key, value)

    body = {"__init__": __init__, "__module__": module, "__qualname__": name}
    created = type(name, (), body | ({"__slots__": slots} if slots else {}))
    monkeypatch.setattr(_nuplan_module(monkeypatch, module), name, created, raising=False)
    return created


def test_second_stage_scenes_of_four_frames_score_as_those_with_stored_futures(tmp_path, monkeypatch):
    state = "nuplan.common.actor_state."
    se2 = _nuplan_class(monkeypatch, f"{state}state_representation", "StateSE2", ("x", "y", "heading"))
    vector = _nuplan_class(monkeypatch, f"{state}state_representation", "StateVector2D", ("_x", "_y", "_array"))
    box = _nuplan_class(monkeypatch, f"{state}oriented_box", "OrientedBox")
    metadata = _nuplan_class(monkeypatch, f"{state}scene_object", "SceneObjectMetadata")
    agent = _nuplan_class(monkeypatch, f"{state}agent", "Agent")
    static = _nuplan_class(monkeypatch, f"{state}static_object", "StaticObject")
    tracked = _nuplan_class(monkeypatch, f"{state}tracked_objects", "TrackedObjects")
    tracks = _nuplan_class(monkeypatch, "nuplan.planning.simulation.observation.observation_type", "DetectionsTracks")
    lights = _nuplan_class(monkeypatch, "nuplan.common.maps.maps_datatypes", "TrafficLightStatuses")
    light = _nuplan_class(monkeypatch, "nuplan.common.maps.maps_datatypes", "TrafficLightStatusData")
    kind_module = _nuplan_module(monkeypatch, f"{state}tracked_objects_types")
    kind = enum.Enum(
        "TrackedObjectType", {name.upper(): i for i, name in enumerate(CATEGORIES)}, module=kind_module.__name__
    )
    monkeypatch.setattr(kind_module, "TrackedObjectType", kind, raising=False)
    datatypes = sys.modules["nuplan.common.maps.maps_datatypes"]
    status = enum.IntEnum("TrafficLightStatusType", {"GREEN": 0, "YELLOW": 1, "RED": 2}, module=datatypes.__name__)
    monkeypatch.setattr(datatypes, "TrafficLightStatusType", status, raising=False)

    source = next((ROOT / SYNTHETIC_SCENES).glob("1b98*.pkl"))
    content = pickle.loads(source.read_bytes())
    token = content["scene_metadata"]["initial_token"]
    stored = dataset("two").scene(token)

    def nuplan_object(row, column):
        x, y, heading = stored.tracks.poses[row, column]
        length, width, height = stored.tracks.size_m[row, column]
        category = stored.tracks.categories[column]
        moving = category in ("vehicle", "pedestrian", "bicycle")
        vx, vy = stored.tracks.velocity_mps[row, column]
        return (agent if moving else static)(
            _metadata=metadata(track_token=stored.tracks.tokens[column]),
            _tracked_object_type=kind[category.upper()],
            _box=box(_center=se2(x=x, y=y, heading=heading), _length=length, _width=width, _height=height),
            **({"_velocity": vector(_x=vx, _y=vy, _array=np.array([vx, vy]))} if moving else {}),
        )

    columns = range(len(stored.tracks.tokens))
    content["extended_detections_tracks"] = [
        tracks(
            tracked_objects=tracked(
                tracked_objects=[nuplan_object(row, c) for c in columns if stored.tracks.valid[row, c]]
            )
        )
        for row in range(4, 12)
    ]
    content["extended_traffic_light_data"] = [
        lights(traffic_lights=[light(status=status(2), lane_connector_id=int(id)) for id in stored.red_connectors[row]])
        for row in range(4, 12)
    ]
    content["frames"] = content["frames"][:4]
    folder = tmp_path / SYNTHETIC_SCENES
    folder.mkdir(parents=True)
    (folder / source.name).write_bytes(pickle.dumps(content))
    os.symlink(ROOT / "navsim_logs", tmp_path / "navsim_logs")
    wanted = SceneFilter(
        num_future_frames=8, tokens=(), include_synthetic_scenes=True, reactive_synthetic_initial_tokens=(token,)
    )
    official = Dataset(tmp_path, Split("test", wanted), maps=ROOT / "maps").scene(token)

    assert official.num_future_frames == 0 and official.tracks.valid.shape == stored.tracks.valid.shape
    assert official.red_connectors == stored.red_connectors
    np.testing.assert_allclose(official.tracks.poses, stored.tracks.poses, atol=1e-8)
    np.testing.assert_allclose(official.tracks.velocity_mps, stored.tracks.velocity_mps, atol=1e-9)
    with pytest.raises(ValueError, match="0 future frames stored"):
        official.human_plan()
    plan = navsim_tiny.plans("two", "plans")[token][None]
    for name, column in score_plans(scoring_context(official), plan).columns.items():
        expected = score_plans(navsim_tiny.context("two", token), plan).columns[name]
        np.testing.assert_allclose(column, expected, atol=1e-9, err_msg=name)
