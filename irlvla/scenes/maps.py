"""nuPlan GeoPackage maps -> `TownMap`.

Layers are stored in longitude/latitude (real maps) or directly in the projected system that the `meta` layer
names; either way the `TownMap` is in projected metres. Ids are the GeoPackage feature ids as strings.
"""

import json
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely

from irlvla.scenes.town_map import LAYERS, Array, Lane, Layer, TownMap

LAYER_TABLES = {
    "LANE": "lanes_polygons",
    "LANE_CONNECTOR": "gen_lane_connectors_scaled_width_polygons",
    "ROADBLOCK": "lane_groups_polygons",
    "ROADBLOCK_CONNECTOR": "lane_group_connectors",
    "INTERSECTION": "intersections",
    "CARPARK_AREA": "carpark_areas",
    "CROSSWALK": "crosswalks",
    "WALKWAY": "walkways",
    "GENERIC_DRIVABLE": "generic_drivable_areas",
    "STOP_LINE": "stop_polygons",
}


@lru_cache(maxsize=4)
def load_map(maps_root: Path, name: str) -> TownMap:
    """The map `name` of `maps_root`, at the version that `nuplan-maps-v1.0.json` gives; read once per process.

    Raises ValueError naming the file and what is wrong in it.
    """
    index_path = Path(maps_root) / "nuplan-maps-v1.0.json"
    versions = map_versions(index_path)
    if name not in versions:
        raise ValueError(f"{index_path}: no map {name!r}, it lists {', '.join(sorted(versions))}")
    return read_geopackage(Path(maps_root) / name / versions[name] / "map.gpkg", name)


def map_versions(index_path: Path) -> dict[str, str]:
    """Version by name of the maps that an index lists. Raises ValueError naming the file."""
    try:
        return {name: str(entry["version"]) for name, entry in json.loads(index_path.read_text()).items()}
    except OSError as error:
        raise ValueError(f"{index_path}: no index of maps here; give the folder that holds the maps") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index_path}: not {{map name: {{version}}}}; download it again: {error}") from error


def read_geopackage(path: Path, name: str) -> TownMap:
    """TownMap of one `map.gpkg`.

    Raises ValueError naming file, layer and column where something is missing.
    """
    if not path.exists():
        raise ValueError(f"{path}: map file is missing")
    check_database(path)
    crs = _projected_crs(path)
    tables = {layer: _read_table(path, table, crs) for layer, table in LAYER_TABLES.items()}
    connectors = _read_table(path, "lane_connectors", crs)
    centerlines = _centerlines(path, _read_table(path, "baseline_paths", crs))

    lanes = _lanes(path, tables["LANE"], connectors, centerlines)
    lanes |= _lane_connectors(path, connectors, tables["LANE_CONNECTOR"], centerlines)
    ids = {layer: tuple(table.index.astype(str)) for layer, table in tables.items()}
    ids["LANE_CONNECTOR"] = _ids(path, "LANE_CONNECTOR", tables["LANE_CONNECTOR"], "lane_connector_fid")
    return TownMap(
        name=name,
        lanes=lanes,
        layers={layer: Layer(ids[layer], tables[layer].geometry.to_numpy()) for layer in LAYERS},
        roadblock_lanes=_roadblock_lanes(tables["LANE"], lanes),
    )


def check_database(path: Path) -> None:
    """Raises ValueError naming the file if it is no whole GeoPackage, of which drivers return a part and only warn."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise ValueError(f"{path}: damaged or truncated GeoPackage ({found}); copy or download it again")


def _projected_crs(path: Path) -> str:
    meta = _read_layer(path, "meta", read_geometry=False)
    for column in ("key", "value"):
        _column(path, "meta", meta, column)
    rows = meta.loc[meta["key"] == "projectedCoordSystem", "value"]
    if rows.empty:
        raise ValueError(f"{path}: layer meta has no row 'projectedCoordSystem'")
    return str(rows.iloc[0])


def _read_layer(path: Path, layer: str, **how: bool) -> pd.DataFrame:
    try:
        return pyogrio.read_dataframe(path, layer=layer, **how)
    except pyogrio.errors.DataLayerError as error:
        raise ValueError(f"{path}: layer {layer} is missing; copy or download the map again") from error
    except (RuntimeError, shapely.errors.ShapelyError) as error:  # pyogrio's own errors are RuntimeErrors
        raise ValueError(f"{path}: layer {layer}: damaged; copy or download the map again: {error}") from error


def _read_table(path: Path, table: str, crs: str) -> geopandas.GeoDataFrame:
    """One layer in projected metres, feature ids as index, polygons of one part as Polygon."""
    frame = _read_layer(path, table, fid_as_index=True)
    if frame.crs is None:
        raise ValueError(f"{path}: layer {table} has no coordinate system")
    if frame.crs != crs:
        frame = frame.to_crs(crs)
    if frame.geometry.isna().any():
        raise ValueError(f"{path}: layer {table}: no geometry for fid {frame.index[frame.geometry.isna()][0]}")
    return frame.set_geometry([_single_part(shapely.force_2d(g)) for g in frame.geometry], crs=crs)


def _single_part(geometry: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(geometry)
    return parts[0] if len(parts) == 1 else geometry


def _column(path: Path, layer: str, table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        raise ValueError(f"{path}: layer {LAYER_TABLES.get(layer, layer)} has no column {column}")
    return table[column]


def _optional_ids(path: Path, layer: str, table: pd.DataFrame, column: str) -> tuple[str | None, ...]:
    """Id column as strings, None for NULL. One NULL turns a whole integer column into floats: 113.0 is still '113'."""
    values = _column(path, layer, table, column)
    return tuple(None if pd.isna(value) else str(int(value)) for value in values)


def _ids(path: Path, layer: str, table: pd.DataFrame, column: str) -> tuple[str, ...]:
    ids = _optional_ids(path, layer, table, column)
    if None in ids:
        row = table.index[ids.index(None)]
        raise ValueError(f"{path}: layer {LAYER_TABLES.get(layer, layer)}, column {column}: NULL for fid {row}")
    return ids


def _with_headings(xy: Array) -> Array:
    """(P, 3) vertices with the heading towards the next one; the last repeats."""
    steps = np.diff(xy, axis=0)
    heading = np.arctan2(steps[:, 1], steps[:, 0])
    return np.column_stack([xy, np.append(heading, heading[-1])])


def _centerlines(path: Path, table: geopandas.GeoDataFrame) -> dict[str, Array]:
    of_lane = _optional_ids(path, "baseline_paths", table, "lane_fid")
    of_connector = _optional_ids(path, "baseline_paths", table, "lane_connector_fid")
    lines: dict[str, Array] = {}
    for fid, lane, connector, line in zip(table.index, of_lane, of_connector, table.geometry, strict=True):
        owner = lane or connector
        if owner is None:
            raise ValueError(f"{path}: layer baseline_paths: fid {fid} has neither lane_fid nor lane_connector_fid")
        if line.geom_type != "LineString":
            raise ValueError(f"{path}: layer baseline_paths: fid {fid} is a {line.geom_type}, not a LineString")
        lines[owner] = _with_headings(shapely.get_coordinates(line))
    return lines


def _centerline(path: Path, lines: dict[str, Array], owner: str) -> Array:
    if owner not in lines:
        raise ValueError(f"{path}: layer baseline_paths has no line for lane or connector {owner}")
    return lines[owner]


def _lanes(
    path: Path, table: geopandas.GeoDataFrame, connectors: pd.DataFrame, lines: dict[str, Array]
) -> dict[str, Lane]:
    connector_ids = connectors.index.astype(str)
    successors = _grouped(_optional_ids(path, "lane_connectors", connectors, "exit_lane_fid"), connector_ids)
    predecessors = _grouped(_optional_ids(path, "lane_connectors", connectors, "entry_lane_fid"), connector_ids)
    groups = _ids(path, "LANE", table, "lane_group_fid")
    limits = _column(path, "LANE", table, "speed_limit_mps").to_numpy(dtype=float)
    return {
        id: Lane(
            id, False, group, _centerline(path, lines, id), polygon, limit,
            tuple(predecessors.get(id, ())), tuple(successors.get(id, ())),
        )
        for id, group, polygon, limit in zip(table.index.astype(str), groups, table.geometry, limits, strict=True)
    }  # fmt: skip


def _lane_connectors(
    path: Path, table: pd.DataFrame, polygons: geopandas.GeoDataFrame, lines: dict[str, Array]
) -> dict[str, Lane]:
    polygon_of = dict(zip(_ids(path, "LANE_CONNECTOR", polygons, "lane_connector_fid"), polygons.geometry, strict=True))
    groups = _ids(path, "lane_connectors", table, "lane_group_connector_fid")
    limits = _column(path, "lane_connectors", table, "speed_limit_mps").to_numpy(dtype=float)
    sources = _optional_ids(path, "lane_connectors", table, "exit_lane_fid")
    targets = _optional_ids(path, "lane_connectors", table, "entry_lane_fid")
    lights = _column(path, "lane_connectors", table, "traffic_light_stop_line_fids").fillna("").astype(str) != ""
    connectors = {}
    rows = zip(table.index.astype(str), groups, limits, sources, targets, lights.tolist(), strict=True)
    for id, group, limit, source, target, light in rows:
        if id not in polygon_of:
            raise ValueError(f"{path}: layer {LAYER_TABLES['LANE_CONNECTOR']} has no polygon for lane connector {id}")
        neighbours = [(lane,) if lane else () for lane in (source, target)]
        connectors[id] = Lane(id, True, group, _centerline(path, lines, id), polygon_of[id], limit, *neighbours, light)
    return connectors


def _grouped(keys: tuple[str | None, ...], values: pd.Index) -> dict[str | None, list[str]]:
    groups: dict[str | None, list[str]] = {}
    for key, value in zip(keys, values, strict=True):
        groups.setdefault(key, []).append(value)
    return groups


def _roadblock_lanes(lane_table: pd.DataFrame, lanes: dict[str, Lane]) -> dict[str, tuple[str, ...]]:
    """Lanes of each lane group, leftmost first where the map numbers them, connectors in the map's order."""
    lane_index = lane_table.get("lane_index", range(len(lane_table)))
    position = dict(zip(lane_table.index.astype(str), lane_index, strict=True))
    members: dict[str, list[str]] = {}
    for lane in lanes.values():
        members.setdefault(lane.roadblock_id, []).append(lane.id)
    return {block: tuple(sorted(ids, key=lambda id: position.get(id, 0))) for block, ids in members.items()}
