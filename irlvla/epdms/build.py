"""`Scene` -> `ScoringContext`: tracks at 10 Hz, the map around the ego, lights, route and reference plan."""

from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import PLAN_INTERVAL_S, PLAN_POSES
from irlvla.epdms import pdm_closed
from irlvla.epdms.context import Rails, ScoringContext
from irlvla.epdms.forecast import Objects
from irlvla.epdms.rails import find_rails
from irlvla.epdms.route import MAP_REACH_M, find_route
from irlvla.epdms.states import NUM_COLUMNS, NUM_STATES, STEP_S, EgoBoxes
from irlvla.geometry import local_from_global, wrap_angle
from irlvla.scenes.scene import Scene
from irlvla.scenes.town_map import TownMap

Array = NDArray[np.float64]

STEPS_PER_FRAME = round(PLAN_INTERVAL_S / STEP_S)


def scoring_context(scene: Scene) -> ScoringContext:
    """Everything that EPDMS needs to score plans in `scene`, with what reactive traffic needs.

    Raises ValueError naming the scene if it has no route or fewer than 8 future frames.
    """
    known = scene.num_future_frames if not scene.is_synthetic else len(scene.tracks.valid) - scene.now - 1
    if known < PLAN_POSES:
        raise ValueError(f"scene {scene.token}: {known} future frames stored, scoring needs {PLAN_POSES}")
    try:
        route = find_route(scene.town_map, scene.ego_pose, scene.route_roadblock_ids)
    except ValueError as error:
        raise ValueError(f"scene {scene.token}: {error}") from error
    history = ego_states(scene)[: scene.now + 1]
    tracks = _tracks(scene)
    context = ScoringContext(
        scene_type="synthetic" if scene.is_synthetic else "original",
        ego_state=history[-1],
        ego_history=history[-4:],
        **_polygons(scene.town_map, EgoBoxes.from_states(history[-1]).centers),
        route_lane_ids=np.array(route.lane_ids),
        centerline=route.centerline,
        **tracks,
        **_red_lights(scene),
        reference_poses=np.zeros((NUM_STATES, 3)),
        human_poses=scene.human_plan() if scene.num_future_frames else np.full((PLAN_POSES, 3), np.nan),
        rails=_rails(scene, tracks["track_tokens"]),
    )
    reference = pdm_closed.plan(context, route, _objects_now(scene), scene.red_connectors[scene.now], scene.town_map)
    return replace(context, reference_poses=local_from_global(scene.ego_pose, reference))


def ego_states(scene: Scene) -> Array:
    """(F, 11) states of the log; steering, yaw rate and its derivative are not recorded and start at 0."""
    states = np.zeros((len(scene.ego_poses), NUM_COLUMNS))
    states[:, :7] = np.concatenate([scene.ego_poses, scene.ego_velocity_mps, scene.ego_acceleration_mps2], axis=1)
    return states


def _polygons(town_map: TownMap, center: Array) -> dict[str, NDArray]:
    """Polygon fields of the context: what lies in the square around the ego's centre, lanes with their roadblocks."""
    square = shapely.box(*(center - MAP_REACH_M), *(center + MAP_REACH_M))
    found: list[tuple[str, str, shapely.Geometry]] = []
    near = {
        layer: np.sort(town_map.layers[layer].tree.query(square, predicate="intersects"))
        for layer in ("ROADBLOCK", "ROADBLOCK_CONNECTOR", "INTERSECTION", "CARPARK_AREA")
    }
    for layer in ("ROADBLOCK", "INTERSECTION", "CARPARK_AREA"):
        found += [(layer, town_map.layers[layer].ids[i], town_map.layers[layer].polygons[i]) for i in near[layer]]
    for layer, lane_layer in (("ROADBLOCK", "LANE"), ("ROADBLOCK_CONNECTOR", "LANE_CONNECTOR")):
        blocks = [town_map.layers[layer].ids[i] for i in near[layer]]
        lanes = [town_map.lanes[id] for block in blocks for id in town_map.roadblock_lanes.get(block, ())]
        found += [(lane_layer, lane.id, lane.polygon) for lane in lanes]
    layers, ids, polygons = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
    parts, owner = shapely.get_parts(np.array(polygons, dtype=object), return_index=True)
    xy, ring = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
    return {
        "polygon_xy": xy,
        "polygon_offsets": np.searchsorted(ring, np.arange(len(parts) + 1)),
        "polygon_ids": np.array(ids, dtype=np.str_)[owner],
        "polygon_layers": np.array(layers, dtype=np.str_)[owner],
    }


def _tracks(scene: Scene) -> dict[str, NDArray]:
    """Track fields of the context: linear between first and last sighting of 0 ... 4 s, holes bridged.

    A track that is seen once stands there all the time. Size and type are those of the first sighting.
    """
    frames = slice(scene.now, scene.now + PLAN_POSES + 1)
    tracks, valid = scene.tracks, scene.tracks.valid[frames]
    seen = np.flatnonzero(valid.any(axis=0))
    frame_s = np.arange(PLAN_POSES + 1) * PLAN_INTERVAL_S
    time_s = np.arange(NUM_STATES) * STEP_S
    columns = np.concatenate([tracks.poses[frames], tracks.velocity_mps[frames]], axis=-1)  # (9, A, 5)
    states = np.zeros((NUM_STATES, len(seen), 5))
    exists = np.zeros((NUM_STATES, len(seen)), dtype=bool)
    for index, track in enumerate(seen):
        sighted = valid[:, track]
        sightings = columns[sighted, track]
        sightings[:, 2] = np.unwrap(sightings[:, 2])
        when_s = frame_s[sighted]
        exists[:, index] = (when_s[0] <= time_s) & (time_s <= when_s[-1]) | (sighted.sum() == 1)
        for column in range(5):
            states[:, index, column] = np.interp(time_s, when_s, sightings[:, column])
    states[..., 2] = wrap_angle(states[..., 2])
    states[~exists] = 0.0
    first = valid[:, seen].argmax(axis=0)
    return {
        "track_tokens": np.array(tracks.tokens, dtype=np.str_)[seen],
        "track_types": np.char.upper(np.array(tracks.categories, dtype=np.str_))[seen],
        "track_lwh": tracks.size_m[frames][first, seen],
        "track_states": states,
        "track_valid": exists,
    }


def _red_lights(scene: Scene) -> dict[str, NDArray]:
    """Light fields of the context: red connectors of the logged route; a frame's status holds until the next one."""
    route = set(scene.route_roadblock_ids)
    lanes = scene.town_map.lanes
    frames = scene.red_connectors[scene.now : scene.now + PLAN_POSES + 1]
    red = [{id for id in frame if id in lanes and lanes[id].roadblock_id in route} for frame in frames]
    ids = sorted(set().union(*red))
    on = np.array([[id in frame for id in ids] for frame in red], dtype=bool).reshape(len(frames), len(ids))
    return {
        "red_light_ids": np.array(ids, dtype=np.str_),
        "red_light_on": on[np.arange(NUM_STATES) // STEPS_PER_FRAME],
    }


def _objects_now(scene: Scene) -> Objects:
    tracks, now = scene.tracks, scene.now
    here = np.flatnonzero(tracks.valid[now])
    return Objects(
        tokens=np.array(tracks.tokens, dtype=np.str_)[here],
        types=np.char.upper(np.array(tracks.categories, dtype=np.str_))[here],
        poses=tracks.poses[now, here],
        velocity_mps=tracks.velocity_mps[now, here],
        lwh_m=tracks.size_m[now, here],
    )


def _rails(scene: Scene, track_tokens: NDArray[np.str_]) -> Rails:
    column = {token: index for index, token in enumerate(scene.tracks.tokens)}
    columns = np.array([column[token] for token in track_tokens], dtype=np.int64)
    is_car = np.array(scene.tracks.categories, dtype=np.str_)[columns] == "vehicle"
    return find_rails(
        scene.town_map, scene.tracks.poses[scene.now, columns], is_car, scene.tracks.valid[scene.now, columns]
    )
