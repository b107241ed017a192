"""What the policy learns from a `Scene`, as named arrays in the ego frame, and their file (one `.npz` per split).

Everything is given inside a rectangle around the ego: 64 x 64 m in the paper, `DEFAULT_X_RANGE_M` and
`DEFAULT_Y_RANGE_M`. A rig without rear cameras may move the rectangle forward.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from irlvla import PLAN_POSES
from irlvla.geometry import box_corners, local_from_global, rotate
from irlvla.scenes.scene import Scene

Array = NDArray[np.float64]
Range = tuple[float, float]

OBJECT_CLASSES = ("vehicle", "pedestrian", "bicycle", "static")
BOX_COLUMNS = ("x", "y", "z", "length", "width", "height", "heading", "vx", "vy")  # centre, ego frame; m, rad, m/s
MAP_CLASSES = ("centerline", "boundary", "crosswalk")
BEV_CLASSES = ("background", "road", "walkway", "centerline", "static", "vehicle", "pedestrian")
LIGHTS = ("none", "green", "red")  # of the next stop line on the route; yellow counts as green, as in the logs
NO_CLASS = -1  # of rows that hold nothing

NUM_OBJECTS = 30
NUM_POLYLINES = 24
POLYLINE_POINTS = 20
ROUTE_POINTS, ROUTE_STEP_M = 20, 2.5  # of the way ahead, which takes up where a plan of 4 s ends
DEFAULT_X_RANGE_M = (-32.0, 32.0)
DEFAULT_Y_RANGE_M = (-32.0, 32.0)
MIN_PIECE_M = 2.0  # shorter pieces of map lines inside the rectangle are left out

ROAD_LAYERS = ("ROADBLOCK", "INTERSECTION", "CARPARK_AREA", "GENERIC_DRIVABLE")
FIXED_POINT_BITS = 4  # OpenCV draws in 1/16 of a cell


def scene_targets(
    scene: Scene,
    camera_names: Sequence[str],
    grid_cells: int,
    x_range_m: Range = DEFAULT_X_RANGE_M,
    y_range_m: Range = DEFAULT_Y_RANGE_M,
) -> dict[str, NDArray]:
    """Inputs besides the pixels, and targets, of one scene (float32 unless stated).

    status (H, 8); plan (T, 3), zeros where `has_plan` () bool is False; boxes (A, 9) columns BOX_COLUMNS and
    box_class (A,) int8; polylines (M, P, 2) and polyline_class (M,) int8 (NO_CLASS: an empty row); bev (X, Y) uint8 of
    BEV_CLASSES; light () int8 of LIGHTS; intrinsics (C, 3, 3), ego_from_camera (C, 4, 4), camera_size_px (C, 2) height,
    width; image_path (C,) str. The route has a file of its own, `route_ahead.py`.
    Raises ValueError if a camera is missing.
    """
    has_plan = scene.num_future_frames >= PLAN_POSES
    boxes, box_class = object_targets(scene, x_range_m, y_range_m)
    polylines, polyline_class = map_targets(scene, x_range_m, y_range_m)
    return {
        "status": scene.status().astype(np.float32),
        "plan": (scene.human_plan() if has_plan else np.zeros((PLAN_POSES, 3))).astype(np.float32),
        "has_plan": np.array(has_plan),
        "boxes": boxes.astype(np.float32),
        "box_class": box_class,
        "polylines": polylines.astype(np.float32),
        "polyline_class": polyline_class,
        "bev": bev_classes(scene, grid_cells, x_range_m, y_range_m),
        "light": np.array(LIGHTS.index(next_light(scene, x_range_m, y_range_m)), np.int8),
        **camera_inputs(scene, camera_names),
    }


def camera_inputs(scene: Scene, camera_names: Sequence[str]) -> dict[str, NDArray]:
    """Calibration and image paths (relative to the sensor root) of the named cameras, for images of native size."""
    missing = [name for name in camera_names if name not in scene.cameras]
    if missing:
        raise ValueError(f"scene {scene.token}: no camera {', '.join(missing)}; it has {', '.join(scene.cameras)}")
    cameras = [scene.cameras[name] for name in camera_names]
    return {
        "intrinsics": np.stack([c.intrinsics for c in cameras]).astype(np.float32),
        "ego_from_camera": np.stack([c.ego_from_camera for c in cameras]).astype(np.float32),
        "camera_size_px": np.array([[c.height_px, c.width_px] for c in cameras], np.int32),
        "image_path": np.array([c.image_path or "" for c in cameras], np.str_),
    }


def present_boxes(scene: Scene) -> tuple[Array, NDArray[np.int8]]:
    """All boxes of the present frame: (n, 9) columns BOX_COLUMNS in the ego frame, and (n,) classes."""
    tracks, now = scene.tracks, scene.now
    rows = np.flatnonzero(tracks.valid[now])
    poses = local_from_global(scene.ego_pose, tracks.poses[now, rows])
    velocity = rotate(tracks.velocity_mps[now, rows], np.full(len(rows), -scene.ego_pose[2]))
    x, y, heading = poses.T
    columns = [x, y, tracks.z_m[now, rows], *tracks.size_m[now, rows].T, heading, *velocity.T]
    known = {name: index for index, name in enumerate(OBJECT_CLASSES)}
    classes = [known.get(tracks.categories[row], known["static"]) for row in rows]
    return np.stack(columns, axis=1), np.array(classes, np.int8)


def object_targets(scene: Scene, x_range_m: Range, y_range_m: Range) -> tuple[Array, NDArray[np.int8]]:
    """The NUM_OBJECTS boxes nearest to the ego whose centre is inside the rectangle, nearest first."""
    boxes, classes = present_boxes(scene)
    x, y = boxes[:, 0], boxes[:, 1]
    inside = np.flatnonzero((x >= x_range_m[0]) & (x < x_range_m[1]) & (y >= y_range_m[0]) & (y < y_range_m[1]))
    order = inside[np.argsort(np.hypot(x, y)[inside], kind="stable")][:NUM_OBJECTS]
    rows, row_class = np.zeros((NUM_OBJECTS, len(BOX_COLUMNS))), np.full(NUM_OBJECTS, NO_CLASS, np.int8)
    rows[: len(order)], row_class[: len(order)] = boxes[order], classes[order]
    return rows, row_class


def map_targets(scene: Scene, x_range_m: Range, y_range_m: Range) -> tuple[Array, NDArray[np.int8]]:
    """The NUM_POLYLINES map elements nearest to the ego, each as POLYLINE_POINTS points evenly spaced along it.

    Centre lines run in driving direction; a boundary is an edge of the drivable area; a crosswalk is the long axis of
    its smallest enclosing rectangle. Boundaries and crosswalks have no direction.
    """
    rectangle = (x_range_m[0], y_range_m[0], x_range_m[1], y_range_m[1])
    lanes = [line for layer in ("LANE", "LANE_CONNECTOR") for line in _centerlines(scene, layer, rectangle)]
    road = shapely.union_all(shapely.clip_by_rect(_polygons(scene, ROAD_LAYERS, rectangle), *_grown(rectangle)), 0.01)
    by_class = (lanes, [shapely.boundary(road)], [_long_axis(p) for p in _polygons(scene, ("CROSSWALK",), rectangle)])
    rows, row_class = np.zeros((NUM_POLYLINES, POLYLINE_POINTS, 2)), np.full(NUM_POLYLINES, NO_CLASS, np.int8)
    pieces = [(p, c) for c, lines in enumerate(by_class) for p in _pieces(lines, rectangle)]
    distance = shapely.distance(np.array([p for p, _ in pieces], object), shapely.Point(0, 0))
    for row, index in enumerate(np.argsort(distance, kind="stable")[:NUM_POLYLINES]):
        line, row_class[row] = pieces[index]
        rows[row] = shapely.get_coordinates(
            shapely.line_interpolate_point(line, np.linspace(0, 1, POLYLINE_POINTS), normalized=True)
        )
    return rows, row_class


def next_light(scene: Scene, x_range_m: Range, y_range_m: Range) -> str:
    """What the route's nearest light ahead shows at present, one of LIGHTS; "none" if there is none in the rectangle.

    A light is where its connector starts. It is passed once the ego's rear axle is.
    """
    lanes, red = scene.town_map.lanes, scene.red_connectors[scene.now]
    route = [id for block in scene.route_roadblock_ids for id in scene.town_map.roadblock_lanes.get(block, ())]
    lit = [id for id in route if lanes[id].has_traffic_light]
    starts = np.array([lanes[id].centerline[0] for id in lit]).reshape(-1, 3)
    x, y, heading = local_from_global(scene.ego_pose, starts).T
    inside = (x > 0) & (x < x_range_m[1]) & (y >= y_range_m[0]) & (y < y_range_m[1]) & (np.cos(heading) > 0)
    if not inside.any():
        return "none"
    nearest = np.where(inside, np.hypot(x, y), np.inf).argmin()
    return "red" if lit[nearest] in red else "green"


def bev_classes(scene: Scene, grid_cells: int, x_range_m: Range, y_range_m: Range) -> NDArray[np.uint8]:
    """(X, Y) class of each cell; x grows with the first index, y with the second. The smaller thing paints over."""
    grid = np.zeros((grid_cells, grid_cells), np.uint8)
    low = np.array([x_range_m[0], y_range_m[0]])
    cells_per_m = grid_cells / (np.array([x_range_m[1], y_range_m[1]]) - low)
    rectangle = (x_range_m[0], y_range_m[0], x_range_m[1], y_range_m[1])

    def cells(xy: Array) -> NDArray[np.int32]:
        """Fixed-point (column, row) of OpenCV, whose pixel centres are whole numbers."""
        return np.round((((xy - low) * cells_per_m) - 0.5)[..., ::-1] * 2**FIXED_POINT_BITS).astype(np.int32)

    def fill(polygon: shapely.Polygon, name: str) -> None:
        rings = [cells(shapely.get_coordinates(ring)) for ring in (polygon.exterior, *polygon.interiors)]
        cv2.fillPoly(grid, rings, BEV_CLASSES.index(name), shift=FIXED_POINT_BITS)

    # Painting includes the cells that an outline touches: the road comes later, so that no walkway narrows it.
    for layers, name in ((("WALKWAY",), "walkway"), (ROAD_LAYERS, "road")):
        for polygon in shapely.get_parts(_polygons(scene, layers, rectangle)):
            fill(polygon, name)
    for layer in ("LANE", "LANE_CONNECTOR"):
        lines = [cells(shapely.get_coordinates(line)) for line in _centerlines(scene, layer, rectangle)]
        cv2.polylines(grid, lines, False, BEV_CLASSES.index("centerline"), shift=FIXED_POINT_BITS)
    boxes, classes = present_boxes(scene)
    corners = box_corners(boxes[:, [0, 1, 6]], boxes[:, 3], boxes[:, 4])
    painted = ((("static",), "static"), (("vehicle", "bicycle"), "vehicle"), (("pedestrian",), "pedestrian"))
    for object_classes, name in painted:
        for box in corners[np.isin(classes, [OBJECT_CLASSES.index(c) for c in object_classes])]:
            cv2.fillPoly(grid, [cells(box)], BEV_CLASSES.index(name), shift=FIXED_POINT_BITS)
    return grid


def _radius_m(rectangle: Sequence[float]) -> float:
    return float(np.hypot(max(map(abs, rectangle[::2])), max(map(abs, rectangle[1::2]))))


def _grown(rectangle: Sequence[float]) -> tuple[float, ...]:
    """1 m larger, so that the cut itself is no edge of the drivable area inside the rectangle."""
    return rectangle[0] - 1, rectangle[1] - 1, rectangle[2] + 1, rectangle[3] + 1


def _to_ego(scene: Scene, xy: Array) -> Array:
    return rotate(xy - scene.ego_pose[:2], np.full(len(xy), -scene.ego_pose[2]))


def _polygons(scene: Scene, layers: Sequence[str], rectangle: Sequence[float]) -> NDArray[np.object_]:
    """Polygons of the layers near the ego, in the ego frame."""
    found = [scene.town_map.layers[name] for name in layers]
    near = [layer.polygons[layer.near(scene.ego_pose[:2], _radius_m(rectangle))] for layer in found]
    return shapely.transform(np.concatenate(near), lambda xy: _to_ego(scene, xy))


def _centerlines(scene: Scene, layer_name: str, rectangle: Sequence[float]) -> list[shapely.LineString]:
    layer = scene.town_map.layers[layer_name]
    lanes = [scene.town_map.lanes[layer.ids[i]] for i in layer.near(scene.ego_pose[:2], _radius_m(rectangle))]
    return [shapely.LineString(_to_ego(scene, lane.centerline[:, :2])) for lane in lanes]


def _long_axis(polygon: shapely.Polygon) -> shapely.LineString:
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))[:4]
    if np.linalg.norm(corners[1] - corners[0]) > np.linalg.norm(corners[2] - corners[1]):
        corners = np.roll(corners, -1, axis=0)
    return shapely.LineString([corners[:2].mean(axis=0), corners[2:].mean(axis=0)])


def _pieces(lines: Sequence[shapely.Geometry], rectangle: Sequence[float]) -> list[shapely.LineString]:
    """Parts of the lines inside the rectangle, at least MIN_PIECE_M long."""
    parts = shapely.get_parts(shapely.clip_by_rect(np.array(lines, object), *rectangle))
    parts = shapely.get_parts(shapely.line_merge(parts)) if len(parts) else parts
    return [part for part in parts if part.length >= MIN_PIECE_M]


def save_targets(
    path: str | Path, tokens: Sequence[str], targets: Sequence[dict[str, NDArray]], **ranges: Range
) -> None:
    """Stack the targets of n scenes and write them with their tokens, or write nothing.

    `ranges` are the `x_range_m` and `y_range_m` that the targets were made with.
    """
    columns = {name: np.stack([row[name] for row in targets]) for name in targets[0]}
    used = {"x_range_m": DEFAULT_X_RANGE_M, "y_range_m": DEFAULT_Y_RANGE_M} | ranges
    temporary = Path(path).with_suffix(".partial")
    with open(temporary, "wb") as file:
        np.savez_compressed(
            file, tokens=np.array(tokens, np.str_), **columns, **{k: np.array(v) for k, v in used.items()}
        )
    os.replace(temporary, path)


def load_targets(path: str | Path) -> dict[str, NDArray]:
    """Columns of `save_targets`: tokens (n,), those of `scene_targets` with a leading axis n, and the two ranges (2,).

    Raises ValueError naming the file and column if one is missing or holds a value that is not finite.
    """
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    expected = (
        "tokens",
        "status",
        "plan",
        "boxes",
        "polylines",
        "bev",
        "route",
        "light",
        "intrinsics",
        "image_path",
        "x_range_m",
    )
    missing = [name for name in expected if name not in columns]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; write it again with save_targets")
    for name, column in columns.items():
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            row = int(np.argwhere(~np.isfinite(column))[0][0]) if column.ndim > 1 else 0
            raise ValueError(f"{path}: column {name}: a value of {columns['tokens'][row]} is not finite")
    return columns
