"""Suites of routes: the small file, how it is drawn, and the five abilities."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from irlvla import route_suite
from irlvla.bench2drive import LOW_SPEED, RouteRecord
from irlvla.route_suite import ABILITIES, ABILITY, ability_table, load_suite, route_scores, write_suite
from irlvla.routes import RouteSpec
from irlvla.world.scenarios import SCENARIOS
from irlvla.world.town import TOWNS

ROOT = Path(__file__).resolve().parents[1]
FORTY = ROOT / "notebooks" / "routes" / "forty.yaml"
TEST_TOWNS = ("fir", "ginkgo", "hazel")

SUITE = [
    RouteSpec("a", "fir", "merge", 1, 200.0),
    RouteSpec("b", "fir", "cut_in", 2, 200.0),
    RouteSpec("c", "fir", "red_light", 3, 200.0),
]


def record(route_id: str, score: float, **infractions: list[str]) -> RouteRecord:
    return RouteRecord(
        route_id=route_id, save_name=f"{route_id}_rep0", status="Completed", infractions={LOW_SPEED: []} | infractions,
        scores={"score_route": 100.0, "score_penalty": score / 100, "score_composed": score},
    )  # fmt: skip


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_suite_is_read_as_it_was_written_whole_or_its_first_routes(tmp_path):
    write_suite(tmp_path / "suite.yaml", SUITE)
    assert load_suite(tmp_path / "suite.yaml") == SUITE
    assert load_suite(tmp_path / "suite.yaml", 2) == SUITE[:2]
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length_m": "far"}, r"suite\.yaml: route 1\.length_m: .*number"),
        ({"id": "a"}, r"suite\.yaml: route a is there twice"),
        ({"scenario": "earthquake"}, r"suite\.yaml: route b: scenario 'earthquake' is none of \['braking_leader'"),
    ],
)
def test_a_broken_file_is_refused_by_file_route_and_field(tmp_path, changes, message):
    write_suite(tmp_path / "suite.yaml", [SUITE[0], replace(SUITE[1], **changes)])
    with pytest.raises(ValueError, match=message):
        load_suite(tmp_path / "suite.yaml")


def test_a_missing_field_and_too_many_routes_are_refused(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("- {id: a, town: fir, scenario: merge, length_m: 200.0}\n")
    with pytest.raises(ValueError, match=r"suite\.yaml: route 0\.seed: .*required"):
        load_suite(path)
    write_suite(path, SUITE)
    with pytest.raises(ValueError, match=r"suite\.yaml: 4 routes are wanted, but it has 3"):
        load_suite(path, 4)


# --- the forty routes -----------------------------------------------------------------------------------------------


def test_the_suite_has_forty_routes_of_150_to_400_m_in_test_towns_and_nowhere_else():
    suite = load_suite(FORTY)
    assert len(suite) >= 40
    assert all(150 <= spec.length_m <= 400 for spec in suite)
    assert {spec.town for spec in suite} == set(TEST_TOWNS)
    assert all(TOWNS[name].split == "test" for name in TEST_TOWNS)


def test_its_first_five_routes_have_every_ability_and_all_scenarios_are_among_the_forty():
    suite = load_suite(FORTY)
    assert {ABILITY[spec.scenario] for spec in suite[:5]} == set(ABILITIES)
    assert {spec.scenario for spec in suite} == set(ABILITY) <= set(SCENARIOS)


@pytest.mark.skipif(not (ROOT / "data" / "sumo").is_dir(), reason="the towns are not there: `dvc pull data.dvc`")
def test_the_file_is_what_its_seed_draws(tmp_path):
    write_suite(tmp_path / "first.yaml", route_suite.draw_suite(ROOT / "data", TEST_TOWNS, 3, seed=0))
    assert (tmp_path / "first.yaml").read_text().splitlines() == FORTY.read_text().splitlines()[:3]


def test_drawing_takes_turns_of_abilities_and_passes_over_towns_without_a_start(monkeypatch, tmp_path):
    monkeypatch.setattr(route_suite, "_begins", lambda spec, root: spec.town == "b" or spec.scenario != "merge")
    suites = [route_suite.draw_suite(tmp_path, ("a", "b"), 10, seed) for seed in (1, 1, 2)]
    assert suites[0] == suites[1] != suites[2]
    assert [ABILITY[spec.scenario] for spec in suites[0]] == [*ABILITIES] * 2
    assert [spec.scenario for spec in suites[0]][::5] == ["parked_car", "construction"]
    assert {spec.town for spec in suites[0] if spec.scenario == "merge"} == {"b"}
    assert {spec.town for spec in suites[0]} == {"a", "b"}
    monkeypatch.setattr(route_suite, "_begins", lambda spec, root: False)
    with pytest.raises(ValueError, match="parked_car: no start in a, b"):
        route_suite.draw_suite(tmp_path, ("a", "b"), 1, 0)


def test_the_command_writes_a_suite_that_can_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(route_suite, "_begins", lambda spec, root: True)
    route_suite.main([str(tmp_path / "out.yaml"), "--towns", "fir", "--routes", "6", "--seed", "3"])
    assert [spec.id for spec in load_suite(tmp_path / "out.yaml")] == [f"RouteScenario_{i}" for i in range(6)]
    assert len(yaml.safe_load((tmp_path / "out.yaml").read_text())) == 6


# --- abilities ------------------------------------------------------------------------------------------------------


def test_the_abilities_are_five_and_share_no_scenario():
    assert len(ABILITIES) == 5
    assert len(ABILITY) == sum(map(len, ABILITIES.values()))


def test_abilities_count_success_without_infractions_and_missing_routes_as_zero():
    records = [record("a", 100.0), record("b", 60.0, collisions_vehicle=["hit"])]
    scores = route_scores(records, SUITE)
    assert scores.to_dict("list") == {
        "route": ["a", "b", "c"],
        "ability": ["merging", "merging", "traffic_signs"],
        "driving_score": [100.0, 60.0, 0.0],
        "success": [1, 0, 0],
    }
    assert ability_table(scores).to_dict("index") == {
        "merging": {"routes": 2, "success_rate": 0.5, "driving_score": 80.0},
        "traffic_signs": {"routes": 1, "success_rate": 0.0, "driving_score": 0.0},
    }
