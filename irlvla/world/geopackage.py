"""Write the maps folder: GeoPackages in nuPlan's layout, stubs for unused names, and their index."""

import json
from pathlib import Path

import geopandas
import pandas as pd
import pyogrio
import shapely

from irlvla.world.network_map import Rows
from irlvla.world.town import CRS, MAP_OF_SPLIT, STUB_MAP

VERSION = "1.0.0"
OPTIONS = {"FID": "fid", "SPATIAL_INDEX": "NO"}  # readers build their own index
pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2026-01-01T00:00:00.000Z"})  # same bytes on every day

# Layers, their geometry, and their columns: an empty layer still needs them.
LAYERS = {
    "lanes_polygons": ("Polygon", ("lane_fid", "lane_group_fid", "lane_index", "left_boundary_fid",
                                   "right_boundary_fid", "speed_limit_mps", "creator_id")),
    "lane_connectors": ("LineString", ("exit_lane_fid", "entry_lane_fid", "exit_lane_group_fid",
                                       "entry_lane_group_fid", "lane_group_connector_fid",
                                       "speed_limit_mps", "intersection_fid",
                                       "turn_type_fid", "traffic_light_stop_line_fids", "creator_id")),
    "gen_lane_connectors_scaled_width_polygons": ("Polygon", ("lane_connector_fid", "left_boundary_fid",
                                                              "right_boundary_fid", "intersection_fid",
                                                              "lane_group_connector_fid")),
    "baseline_paths": ("LineString", ("lane_fid", "lane_connector_fid", "path_type_fid")),
    "lane_groups_polygons": ("Polygon", ("creator_id",)),
    "lane_group_connectors": ("Polygon", ("from_lane_group_fid", "to_lane_group_fid", "intersection_fid")),
    "intersections": ("Polygon", ("intersection_type_fid",)),
    "boundaries": ("LineString", ("boundary_type_fid",)),
    "stop_polygons": ("Polygon", ("stop_polygon_type_fid", "intersection_fid")),
    "crosswalks": ("Polygon", ()),
    "walkways": ("Polygon", ()),
    "carpark_areas": ("Polygon", ("heading",)),
    "generic_drivable_areas": ("Polygon", ()),
    "road_segments": ("Polygon", ()),
}  # fmt: skip


def write_map(path: Path, rows: Rows) -> None:
    """One `map.gpkg` with every layer, feature ids as chosen in the rows, centimetre coordinates."""
    path.parent.mkdir(parents=True)
    for layer, (kind, columns) in LAYERS.items():
        table = pd.DataFrame(rows.get(layer, []), columns=["fid", "geometry", *columns])
        rounded = shapely.set_precision(table.pop("geometry").to_numpy(dtype=object), 0.001, mode="pointwise")
        frame = geopandas.GeoDataFrame(table.astype({"fid": "int64"}), geometry=rounded, crs=CRS)
        for column in ("lane_fid", "lane_connector_fid"):
            if layer == "baseline_paths":
                frame[column] = frame[column].astype("Int64")
        pyogrio.write_dataframe(frame, path, layer=layer, driver="GPKG", geometry_type=kind, layer_options=OPTIONS)
    _write_meta(path)


def _write_meta(path: Path) -> None:
    meta = pd.DataFrame({"key": ["projectedCoordSystem", "mapVersion"], "value": [CRS, VERSION]})
    pyogrio.write_dataframe(meta, path, layer="meta", driver="GPKG")


def write_index(maps_root: Path) -> None:
    """`nuplan-maps-v1.0.json`, and a stub for the name that has no town."""
    names = (*MAP_OF_SPLIT.values(), STUB_MAP)
    index = {name: {"version": VERSION, "layers": {}} for name in sorted(names)}
    (maps_root / "nuplan-maps-v1.0.json").write_text(json.dumps(index, indent=1) + "\n")
    for name in names:
        stub = maps_root / name / VERSION / "map.gpkg"
        if not stub.exists():
            stub.parent.mkdir(parents=True)
            empty = geopandas.GeoDataFrame({"fid": pd.Series(dtype="int64")}, geometry=[], crs=CRS)
            pyogrio.write_dataframe(empty, stub, layer="lane_connectors", driver="GPKG", geometry_type="LineString")
            _write_meta(stub)
