"""Second-stage scenes in the form of the real navhard data: four frames, then nuPlan's objects and lights."""

import enum
import os
import pickle
import sys
import types

import navsim_tiny
import numpy as np
import pytest
from navsim_tiny import ROOT, dataset

from irlvla.epdms.build import scoring_context
from irlvla.epdms.scores import score_plans
from irlvla.scenes.navsim import SYNTHETIC_SCENES, Dataset
from irlvla.scenes.scene import CATEGORIES
from irlvla.scenes.split import SceneFilter, Split


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


@pytest.fixture
def nuplan(monkeypatch) -> types.SimpleNamespace:
    """nuPlan's classes as far as second-stage scenes hold them, importable while the test runs."""
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
    return types.SimpleNamespace(
        se2=se2, vector=vector, box=box, metadata=metadata, agent=agent, static=static, tracked=tracked, tracks=tracks,
        lights=lights, light=light, kind=kind, status=status,
    )  # fmt: skip


def test_second_stage_scenes_of_four_frames_score_as_those_with_stored_futures(tmp_path, nuplan):
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
        return (nuplan.agent if moving else nuplan.static)(
            _metadata=nuplan.metadata(track_token=stored.tracks.tokens[column]),
            _tracked_object_type=nuplan.kind[category.upper()],
            _box=nuplan.box(
                _center=nuplan.se2(x=x, y=y, heading=heading), _length=length, _width=width, _height=height
            ),
            **({"_velocity": nuplan.vector(_x=vx, _y=vy, _array=np.array([vx, vy]))} if moving else {}),
        )

    columns = range(len(stored.tracks.tokens))
    content["extended_detections_tracks"] = [
        nuplan.tracks(
            tracked_objects=nuplan.tracked(
                tracked_objects=[nuplan_object(row, c) for c in columns if stored.tracks.valid[row, c]]
            )
        )
        for row in range(4, 12)
    ]
    content["extended_traffic_light_data"] = [
        nuplan.lights(
            traffic_lights=[
                nuplan.light(status=nuplan.status(2), lane_connector_id=int(id)) for id in stored.red_connectors[row]
            ]
        )
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
