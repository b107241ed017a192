"""Maps of a dataset: those that the index lists, their layers, and stricter rules for those written by this project."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyogrio

from irlvla.scenes.maps import check_database, map_versions, read_geopackage
from irlvla.scenes.town_map import TownMap
from irlvla.world.findings import Findings
from irlvla.world.geopackage import LAYERS, VERSION

INDEX = "nuplan-maps-v1.0.json"
STUB_LAYERS = {"lane_connectors", "meta"}  # all that the official reader opens of a map that no log uses
MAX_SPACING_M = 1.01  # the official scorer looks up lanes by vertices of their centre lines


def check_maps(maps: Path, findings: Findings) -> dict[str, set[str]]:
    """Ids of the roadblocks of every map that can be read."""
    roadblocks: dict[str, set[str]] = {}
    versions: dict[str, str] = {}
    with findings.examining("map index", maps / INDEX):
        versions = map_versions(maps / INDEX)
    for name, version in sorted(versions.items()):
        path = maps / name / version / "map.gpkg"
        with findings.examining("maps", path):
            if not path.exists():
                raise ValueError(f"{path}: map file is missing, and {maps / INDEX} lists it")
            check_database(path)
            layers = {str(layer) for layer, _ in pyogrio.list_layers(path)}
            if layers == STUB_LAYERS:
                continue
            town_map = read_geopackage(path, name)
            roadblocks[name] = set(town_map.roadblock_lanes)
            if version == VERSION:
                _check_own(path, layers, town_map, findings)
    return roadblocks


def _check_own(path: Path, layers: set[str], town_map: TownMap, findings: Findings) -> None:
    fids: Counter[int] = Counter()
    for layer in LAYERS:
        findings.expect("map layers", layer in layers, f"{path}: layer {layer} is missing")
        if layer in layers:
            fids.update(pyogrio.read_dataframe(path, layer=layer, read_geometry=False, fid_as_index=True).index)
    findings.expect("feature ids once", max(fids.values()) == 1, f"{path}: fid {fids.most_common(1)} is in two layers")
    for lane in town_map.lanes.values():
        gaps = np.linalg.norm(np.diff(lane.centerline[:, :2], axis=0), axis=1)
        fine = len(gaps) >= 2 and gaps.max() <= MAX_SPACING_M and gaps.min() > 0 and lane.polygon.is_valid
        findings.expect("lane geometry", bool(fine), f"{path}: lane {lane.id}: centre line or polygon")
        if lane.is_connector:
            linked = bool(lane.predecessors and lane.successors)
            findings.expect("connectors linked", linked, f"{path}: lane connector {lane.id} leads nowhere")
