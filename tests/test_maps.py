"""nuPlan's GeoPackages as a `TownMap`, and what a damaged one is told by."""

import pickle
import shutil

import geopandas
import numpy as np
import pyogrio
import pytest
from navsim_tiny import ROOT

from irlvla.scenes.maps import load_map, read_geopackage

MAP_NAME = "us-nv-las-vegas-strip"
GPKG = ROOT / "maps" / MAP_NAME / "0.0.1" / "map.gpkg"


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


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _overwritten(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + b"\xff" * 20_000 + content[middle + 20_000 :]


@pytest.mark.parametrize("damage", [_truncated, _overwritten, lambda content: b"no database"])
def test_a_damaged_map_file_is_named(tmp_path, damage):
    (tmp_path / "map.gpkg").write_bytes(damage(GPKG.read_bytes()))
    with pytest.raises(ValueError, match=r"map\.gpkg: damaged or truncated GeoPackage .*download it again"):
        read_geopackage(tmp_path / "map.gpkg", "m")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no index of maps here"), ('{"m": ', "download it again"), ('["m"]', "map name")]
)
def test_a_missing_or_damaged_index_of_maps_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "nuplan-maps-v1.0.json").write_text(content)
    with pytest.raises(ValueError, match=rf"nuplan-maps-v1.0\.json: .*{message}"):
        load_map(tmp_path, "m")
