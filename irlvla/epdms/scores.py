"""EPDMS sub-scores of a batch of plans: a pure function of a scoring context and plans.

`score_plans` is the metric. Below it, `evaluate` gives the sub-scores of states that were driven already, with the
progress still in metres, and `with_progress` turns metres into EP: what PDM-Closed needs to choose among proposals.

Legend: N plans; a column is an (N,) array; columns are named as in the official CSV.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from irlvla.epdms import collisions, comfort
from irlvla.epdms.areas import AreaMap, EgoAreas, ego_areas
from irlvla.epdms.centerline import lane_keeping, progress_m
from irlvla.epdms.context import ScoringContext
from irlvla.epdms.drive import simulate, simulate_10hz
from irlvla.epdms.states import NUM_COLUMNS, NUM_STATES, EgoBoxes, Verdict, check

Array = NDArray[np.float64]
Columns = dict[str, Array]
Verdicts = dict[str, Verdict]

MULTIPLIERS = (
    "no_at_fault_collisions",
    "drivable_area_compliance",
    "driving_direction_compliance",
    "traffic_light_compliance",
)
WEIGHTS = {
    "ego_progress": 5.0,
    "time_to_collision_within_bound": 5.0,
    "lane_keeping": 2.0,
    "history_comfort": 2.0,
}
EXTENDED_COMFORT_WEIGHT = 2.0
SUB_SCORES = (*MULTIPLIERS, *WEIGHTS)
PRODUCT = "multiplicative_metrics_prod"
PROGRESS_M = "progress_m"  # metres along the centreline, before normalisation

PROGRESS_THRESHOLD_M = 5.0  # where nobody gets further, EP is 1
CHUNK = 64  # plans whose arrays stay in the processor's cache
DIRECTION_WINDOW = 11  # steps: the current one and the 10 before
DIRECTION_COMPLIANCE_M = 2.0
DIRECTION_VIOLATION_M = 6.0


@dataclass(frozen=True)
class Scores:
    """Scores of N plans. `columns` has the human filter applied where it applies; `plain` never has."""

    columns: Columns
    plain: Columns
    states: Array  # (N, 41, 11) driven
    verdicts: Verdicts  # behind `plain`: where each sub-score but EP was first lost; see reasons.py


def score_plans(
    context: ScoringContext,
    plans: Array,
    human_filter: bool = True,
    keep_overlapping_tracks: bool = False,
    human: Columns | None = None,
) -> Scores:
    """Score plans (N, 8, 3), ego frame, 2 Hz, each against the reference plan of the context.

    Columns: the eight sub-scores, `multiplicative_metrics_prod`, `progress_m`, `weighted` (mean of the weighted terms
    without EC, weights 14) and `pdm_score` (product x weighted, never filtered, as in the official CSV).

    `human_filter` acts on original scenes only. Log replay removes tracks that touch the ego at t = 0; for reactive
    traffic, which does not, pass `keep_overlapping_tracks`. `human` are columns of `score_human` where the human meets
    other traffic than the plans do.
    Raises ValueError naming the field for wrong shapes and values that are not finite.
    """
    validate(context)
    states = simulate(plans, context.ego_state)
    if not keep_overlapping_tracks:
        context = without_overlapping_tracks(context)
    filtering = human_filter and context.scene_type == "original"
    human_plans = context.human_poses[None] if filtering and human is None else np.empty((0, 8, 3))
    references = [
        simulate_10hz(context.reference_poses[None], context.ego_state),
        simulate(human_plans, context.ego_state),
    ]
    everything, verdicts = judge(context, np.concatenate([*references, states]))
    skip = 1 + len(human_plans)
    plain = {name: column[skip:] for name, column in everything.items()}
    verdicts = {name: verdict.after(skip) for name, verdict in verdicts.items()}
    verdicts["history_comfort"] = comfort.history_comfort(context.ego_history, states)
    plain["history_comfort"] = verdicts["history_comfort"].score
    reference_m = everything[PROGRESS_M][0] * everything[PRODUCT][0]
    plain = summarise(with_progress(plain, np.maximum(reference_m, plain[PROGRESS_M] * plain[PRODUCT])))
    if not filtering:
        return Scores(plain, plain, states, verdicts)
    if human is None:
        human = _alone({name: column[1:skip] for name, column in everything.items()})
    return Scores(filter_by_human(plain, human), plain, states, verdicts)


def score_human(context: ScoringContext, keep_overlapping_tracks: bool = False) -> Columns:
    """Columns of length 1 of the human plan, scored alone and without history comfort, for the human filter."""
    validate(context)
    if not keep_overlapping_tracks:
        context = without_overlapping_tracks(context)
    return _alone(evaluate(context, simulate(context.human_poses[None], context.ego_state)))


def _alone(columns: Columns) -> Columns:
    return with_progress(columns, columns[PROGRESS_M] * columns[PRODUCT])


def evaluate(context: ScoringContext, states: Array) -> Columns:
    """Columns of driven states (N, 41, 11), except EP: `progress_m` instead, and history comfort is 1.

    Tracks are taken as the context has them: forecasts or reactive traffic go in by `dataclasses.replace`.
    """
    return judge(context, states)[0]


def judge(context: ScoringContext, states: Array) -> tuple[Columns, Verdicts]:
    """What `evaluate` gives, and the verdicts behind it: of the four multipliers, TTC and LK."""
    states = check("states", states, (None, NUM_STATES, NUM_COLUMNS))
    area_map, traffic = AreaMap.from_context(context), collisions.Traffic.near(context, states)
    chunks = [states[i : i + CHUNK] for i in range(0, len(states), CHUNK)] or [states]
    parts = [_judge(context, area_map, traffic, chunk) for chunk in chunks]
    progress = np.concatenate([part[PROGRESS_M] for part, _ in parts])
    verdicts = {name: Verdict.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
    columns = {name: verdict.score for name, verdict in verdicts.items()}
    columns |= {"history_comfort": np.ones(len(states)), PROGRESS_M: progress}
    return columns | {PRODUCT: _product(columns)}, verdicts


def _judge(
    context: ScoringContext, area_map: AreaMap, traffic: collisions.Traffic, states: Array
) -> tuple[Columns, Verdicts]:
    boxes = EgoBoxes.from_states(states)
    areas = ego_areas(area_map, states, boxes)
    return {PROGRESS_M: progress_m(context.centerline, boxes.centers)}, {
        "no_at_fault_collisions": collisions.no_at_fault_collisions(traffic, areas, states, boxes),
        "drivable_area_compliance": drivable_area_compliance(areas),
        "driving_direction_compliance": driving_direction_compliance(areas, boxes.centers),
        "traffic_light_compliance": collisions.traffic_light_compliance(area_map, context, boxes),
        "time_to_collision_within_bound": collisions.time_to_collision_within_bound(traffic, areas, states, boxes),
        "lane_keeping": lane_keeping(context.centerline, areas.center_in_intersection, boxes.centers),
    }


def drivable_area_compliance(areas: EgoAreas) -> Verdict:
    """DAC: 0 from the first state with a corner off the drivable area."""
    return Verdict.of(1.0 - areas.non_drivable.any(axis=1), areas.non_drivable)


def driving_direction_compliance(areas: EgoAreas, centers: Array) -> Verdict:
    """DDC: by the most metres driven off the route's lanes and outside intersections within one second."""
    moved = np.zeros(centers.shape[:2])
    moved[:, 1:] = np.linalg.norm(np.diff(centers, axis=1), axis=-1)
    moved[~areas.oncoming | areas.center_in_intersection] = 0.0
    padded = np.pad(moved, ((0, 0), (DIRECTION_WINDOW - 1, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, DIRECTION_WINDOW, axis=1)
    driven_m = windows.sum(axis=-1)
    worst_m = driven_m.max(axis=1)
    score = np.select([worst_m < DIRECTION_COMPLIANCE_M, worst_m < DIRECTION_VIOLATION_M], [1.0, 0.5], 0.0)
    return Verdict.of(score, driven_m >= DIRECTION_COMPLIANCE_M)


def with_progress(columns: Columns, best_m: Array | float) -> Columns:
    """Add EP: progress over `best_m` (the most metres x product among those compared), clipped to [0, 1]."""
    best_m = np.asarray(best_m, dtype=np.float64)
    counts = best_m > PROGRESS_THRESHOLD_M
    share = np.clip(columns[PROGRESS_M] / np.where(counts, best_m, 1.0), 0.0, 1.0)
    return columns | {"ego_progress": np.where(counts, share, 1.0)}


def summarise(columns: Columns) -> Columns:
    """Add product, weighted mean (without EC) and their product `pdm_score`, from the sub-scores."""
    product, weighted = _product(columns), weighted_mean(columns)
    return columns | {PRODUCT: product, "weighted": weighted, "pdm_score": product * weighted}


def _product(columns: Columns) -> Array:
    return np.prod([columns[name] for name in MULTIPLIERS], axis=0)


def weighted_mean(columns: Columns, extended_comfort: Array | None = None) -> Array:
    """Weighted terms over the sum of their weights: 14, or 16 with EC."""
    total, weights = sum(weight * columns[name] for name, weight in WEIGHTS.items()), sum(WEIGHTS.values())
    if extended_comfort is None:
        return total / weights
    return (total + EXTENDED_COMFORT_WEIGHT * extended_comfort) / (weights + EXTENDED_COMFORT_WEIGHT)


def filter_by_human(plain: Columns, human: Columns) -> Columns:
    """Set each sub-score to 1 where the human's (columns of length 1) is 0; recompute all but `pdm_score`."""
    filtered = {name: np.ones_like(plain[name]) if human[name][0] == 0.0 else plain[name] for name in SUB_SCORES}
    return summarise(plain | filtered) | {"pdm_score": plain["pdm_score"]}


def without_overlapping_tracks(context: ScoringContext) -> ScoringContext:
    """The context without the tracks that touch the ego at t = 0, as log replay has it."""
    touching = collisions.tracks_touching_ego(context)
    return replace(context, track_valid=context.track_valid & ~touching)


def validate(context: ScoringContext) -> None:
    """Raises ValueError naming the field of the context that has a wrong shape or a value that is not finite."""
    num_tracks, num_polygons = len(context.track_tokens), len(context.polygon_ids)
    check("ego_state", context.ego_state, (NUM_COLUMNS,))
    check("ego_history", context.ego_history, (4, NUM_COLUMNS))
    check("polygon_xy", context.polygon_xy, (None, 2))
    check("polygon_offsets", context.polygon_offsets, (num_polygons + 1,))
    check("centerline", context.centerline, (None, 3))
    check("track_lwh", context.track_lwh, (num_tracks, 3))
    check("track_valid", context.track_valid, (NUM_STATES, num_tracks))
    if np.shape(context.track_states) != (NUM_STATES, num_tracks, 5):
        raise ValueError(f"track_states: shape {np.shape(context.track_states)}, expected (41, {num_tracks}, 5)")
    check("track_states", context.track_states[context.track_valid], (None, 5))
    check("red_light_on", context.red_light_on, (NUM_STATES, len(context.red_light_ids)))
    if len(context.centerline) < 2:
        raise ValueError(f"centerline: {len(context.centerline)} points, at least 2 are needed")
    sizes = np.diff(context.polygon_offsets)
    if context.polygon_offsets[0] != 0 or context.polygon_offsets[-1] != len(context.polygon_xy) or (sizes < 3).any():
        raise ValueError("polygon_offsets: must rise from 0 to len(polygon_xy) by at least 3 points a polygon")
    if context.scene_type not in ("original", "synthetic"):
        raise ValueError(f"scene_type: {context.scene_type!s}, expected original or synthetic")
    unknown = set(context.track_types) - {*collisions.AGENT_TYPES, *collisions.OBJECT_TYPES}
    if unknown:
        raise ValueError(f"track_types: unknown {', '.join(sorted(unknown))}")
