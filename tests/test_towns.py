"""The towns by name, and the street plans of those that are drawn."""

import gzip

import numpy as np
import pytest
import sumolib

from irlvla.world.further_towns import FURTHER_TOWNS, UNLABELLED_TOWNS
from irlvla.world.street_plan import blocks, lengthened, motorway
from irlvla.world.town import TOWNS, Town, build_network, network_offset

REAL = {town.name for town in TOWNS.values() if town.character == "real"}


def of_split(split: str) -> list[Town]:
    return [town for town in TOWNS.values() if town.split == split]


def test_two_towns_are_real_and_unseen_towns_are_of_either_kind():
    assert REAL == {"berlin", "ingolstadt"}
    assert {town.character for town in of_split("train")} >= {"real", "grid", "village", "arterial", "motorway"}
    test = {town.name for town in of_split("test")}
    assert test & REAL and len(test - REAL) >= 2


def test_there_are_a_hundred_logs_and_forty_groups_outside_training():
    assert sum(town.logs for town in TOWNS.values()) >= 100
    assert sum(town.groups for town in TOWNS.values()) >= 40
    assert all(town.groups <= town.logs for town in TOWNS.values()) and not any(t.groups for t in of_split("train"))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_towns_of_one_map_have_ids_and_places_of_their_own(split):
    towns = [town for town in (TOWNS | FURTHER_TOWNS | UNLABELLED_TOWNS).values() if town.split == split]
    first = sorted(town.first_fid for town in towns)
    assert min(np.diff(first), default=1_000_000) >= 1_000_000
    places = np.array([town.origin for town in towns if town.origin is not None])
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(len(places))
    assert apart.min() > 2_000


def test_further_towns_are_test_towns_that_the_dataset_lacks():
    assert len(FURTHER_TOWNS) == 4 and not set(FURTHER_TOWNS) & set(TOWNS)
    assert all(town.split == "test" and town.groups == town.logs for town in FURTHER_TOWNS.values())


def test_towns_that_nobody_labels_are_training_towns_that_the_dataset_lacks():
    assert not set(UNLABELLED_TOWNS) & set(TOWNS | FURTHER_TOWNS)
    assert all(town.split == "train" and not town.groups for town in UNLABELLED_TOWNS.values())


@pytest.mark.parametrize("name", ["larch", "elm"])
def test_the_same_town_is_made_of_the_same_bytes_at_its_place(tmp_path, name):
    paths = [tmp_path / f"{i}.net.xml.gz" for i in range(2)]
    for path in paths:
        build_network(TOWNS[name], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"<!--" not in gzip.decompress(paths[0].read_bytes())[:200]  # no date
    assert network_offset(paths[0]) == TOWNS[name].origin


def test_on_a_motorway_a_third_lane_begins_at_the_entry_and_merges(tmp_path):
    path = tmp_path / "larch.net.xml.gz"
    build_network(TOWNS["larch"], path)
    net = sumolib.net.readNet(str(path))
    main = [net.getEdge(id) for id in ("s_exit_s_entry", "s_entry_s_zip", "s_zip_s_slow")]
    assert [len(edge.getLanes()) for edge in main] == [2, 3, 2]
    onto = {edge.getID() for edge in main[1].getIncoming()}
    assert onto == {"s_exit_s_entry", "s_up_s_entry"}
    assert len(main[1].getOutgoing()[main[2]]) == 3  # every lane goes on, two of them into one


def test_a_roundabout_is_a_one_way_ring_through_its_arms():
    plan = blocks((0, 100, 200), (0, 100, 200), seed=1, jitter_m=0.0, roundabouts={(1, 1): 20.0})
    ring = [edge for edge in plan.edges if edge.type == "roundabout"]
    assert len(ring) == 4 and {edge.start for edge in ring} == {edge.end for edge in ring}
    for edge in ring:
        radius = np.linalg.norm(np.array(edge.shape) - (100.0, 100.0), axis=1)
        turned = np.unwrap(np.arctan2(*(np.array(edge.shape) - (100.0, 100.0)).T[::-1]))
        np.testing.assert_allclose(radius, 20.0)
        assert np.all(np.diff(turned) > 0)  # counter-clockwise: traffic keeps right


def test_arms_go_on_in_their_direction():
    plan = lengthened({"north": (("out", 2, (0.0, 0.0)), ("in", 1, (3.0, 0.0)), (0.0, 100.0))}, 3.2, 13.9)
    out, back = plan.edges
    assert (out.start, out.end, out.lanes, back.start, back.end, back.lanes) == ("out", "north", 2, "north", "in", 1)
    assert out.shape == ((0.0, 0.0), (0.0, 100.0)) and back.shape == ((3.0, 100.0), (3.0, 0.0))


def test_both_carriageways_of_a_motorway_are_each_other_turned_around():
    nodes = motorway(1000, 85).nodes
    for name, (x, y, kind) in nodes.items():
        if name.startswith("s_"):
            other = nodes["n_" + name[2:]]
            assert (other[0], other[1], other[2]) == (pytest.approx(-x), pytest.approx(-y), kind)
