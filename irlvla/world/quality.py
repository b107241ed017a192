"""Whether a recorded log is fit to imitate: its human plans scored by EPDMS, replayed, without the human filter."""

from pathlib import Path

import numpy as np

from irlvla import HISTORY_FRAMES, PLAN_POSES
from irlvla.epdms.build import scoring_context
from irlvla.epdms.scores import score_plans
from irlvla.scenes.frames import frames_of_log, scene_of_frames
from irlvla.scenes.town_map import TownMap

# Least mean of a log's scenes. Light violations stay: a human is not perfect, and a few windows in a sharp bend fail
# only because EPDMS starts every plan with straight wheels.
COMFORT = "history_comfort"
LEAST = {
    "no_at_fault_collisions": 1.0,
    "drivable_area_compliance": 0.85,
    "driving_direction_compliance": 0.95,
    "traffic_light_compliance": 0.85,
    "time_to_collision_within_bound": 0.75,
    "lane_keeping": 0.6,
}


def human_scores(log: list[dict], town_map: TownMap) -> dict[str, float]:
    """Mean sub-scores of the human plans of all scenes of a log."""
    rows = []
    length = HISTORY_FRAMES + PLAN_POSES
    for first in range(len(log) - length + 1):
        window = frames_of_log(log[first : first + length], Path("recording"))
        scene = scene_of_frames(window, HISTORY_FRAMES - 1, town_map, Path(), log[0]["log_name"])
        columns = score_plans(scoring_context(scene), scene.human_plan()[None], human_filter=False).columns
        rows.append({name: float(columns[name][0]) for name in (*LEAST, COMFORT)})
    return {name: float(np.mean([row[name] for row in rows])) for name in (*LEAST, COMFORT)}


def shortcoming(log: list[dict], town_map: TownMap, least_comfort: float) -> str | None:
    """The first sub-score below its least value, in words; None if the log is fit."""
    least = {**LEAST, COMFORT: least_comfort}
    for name, mean in human_scores(log, town_map).items():
        if mean < least[name]:
            return f"{name} of the human is {mean:.2f}"
    return None
