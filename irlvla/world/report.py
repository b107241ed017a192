"""What a dataset of the embedded world holds, in figures: events, meta-actions, human driving, reading speed.

Every original scene of every split is looked at; human plans are scored by EPDMS in replayed traffic without the human
filter, which would hide their faults.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from irlvla.epdms.build import scoring_context
from irlvla.epdms.comfort import history_quantities
from irlvla.epdms.scores import SUB_SCORES, score_plans
from irlvla.meta_actions import PATH_COMMANDS, SPEED_COMMANDS
from irlvla.scenes.navsim import Dataset
from irlvla.scenes.samples import commands_of, dataset_of_log, in_parallel, log_names, town_of
from irlvla.scenes.scene import CAMERAS, Scene
from irlvla.world.cameras import render
from irlvla.world.simulation import WHEEL_BASE_SHARE

SPLITS = ("train", "val", "test")
MOVING_MPS = 1.0  # the direction of a slower velocity is noise
COLLISIONS = "no_at_fault_collisions"
WORST = 5  # rows of the table of comfort violations
IMAGES_OF = 20  # scenes whose eight images are rendered for the reading rate


def human_row(scene: Scene, split: str) -> dict[str, object]:
    """Names, meta-action, sub-scores, and the extreme of each comfort quantity with its excess over the bound."""
    context = scoring_context(scene)
    scores = score_plans(context, scene.human_plan()[None], human_filter=False)
    speed, path = commands_of(scene)
    row: dict[str, object] = {"split": split, "town": town_of(scene.log_name), "log_name": scene.log_name}
    row |= {"token": scene.token, "speed": speed, "path": path}
    row |= {name: float(scores.columns[name][0]) for name in SUB_SCORES}
    for name, values, (low, high) in history_quantities(context.ego_history, scores.states):
        row[name] = float(values[0][np.argmax(np.abs(values[0] - (low + high) / 2))])
        row[f"excess of {name}"] = abs(row[name] - (low + high) / 2) / ((high - low) / 2) - 1
    return row


def slips(scene: Scene) -> pd.DataFrame:
    """A row per object that moves: its category, and its heading against its velocity and its way [deg].

    The way is the chord from the frame before to the frame after of a vehicle's rear axle, or a pedestrian's centre;
    the centre of a vehicle that turns does not move along its heading.
    """
    tracks, around = scene.tracks, slice(scene.now - 1, scene.now + 2)
    is_pedestrian = np.array([category == "pedestrian" for category in tracks.categories], dtype=bool)
    behind_m = np.where(is_pedestrian, 0.0, (WHEEL_BASE_SHARE - 0.5) * tracks.size_m[scene.now, :, 0])
    heading = tracks.poses[around, :, 2]
    rear = tracks.poses[around, :, :2] - behind_m[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    ways = {"velocity": tracks.velocity_mps[scene.now], "way": rear[2] - rear[0]}
    moving = tracks.valid[around].all(axis=0)
    for way in ways.values():  # the way takes a second
        moving &= np.linalg.norm(way, axis=1) > MOVING_MPS
    table = pd.DataFrame({"category": np.array(tracks.categories, dtype=object)[moving]})
    for name, way in ways.items():
        angle = np.arctan2(way[moving, 1], way[moving, 0]) - heading[1, moving]
        table[name] = np.abs(np.rad2deg(np.arctan2(np.sin(angle), np.cos(angle))))
    return table


def _log(root: Path, yaml: Path, log_name: str, split: str) -> tuple[list[dict[str, object]], pd.DataFrame]:
    dataset = dataset_of_log(root, yaml, log_name)
    scenes = [dataset.scene(token) for token in dataset.tokens]
    return [human_row(scene, split) for scene in scenes], pd.concat([slips(scene) for scene in scenes])


def survey_humans(root: Path, workers: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`human_row` of all original scenes of the three splits, and `slips` of all that moves in them."""
    yamls = {split: root / "splits" / f"{split}.yaml" for split in SPLITS}
    work = [
        joblib.delayed(_log)(root, yamls[split], name, split)
        for split in SPLITS
        for name in log_names(yamls[split], None)
    ]
    rows, slipping = zip(*in_parallel(work, workers, "scoring humans"), strict=True)
    return pd.DataFrame([row for part in rows for row in part]), pd.concat(slipping)


def report(root: Path, workers: int) -> Iterator[str]:
    """Markdown paragraphs about the dataset in `root`."""
    humans, slipping = survey_humans(root, workers)
    events = pd.read_csv(root / "scenarios.csv")
    events["split"] = events["log_name"].map(humans.groupby("log_name")["split"].first())
    yield "### Logs by scripted event\n\n" + _counts(events, "scenario", sorted(events["scenario"].unique()))
    yield "### Original scenes by speed command\n\n" + _counts(humans, "speed", SPEED_COMMANDS)
    yield "### Original scenes by path command\n\n" + _counts(humans, "path", PATH_COMMANDS)
    scenario = humans["log_name"].map(events.set_index("log_name")["scenario"])
    for title, key in (("split", humans["split"]), ("town", humans["town"]), ("scripted event", scenario)):
        yield f"### Unfiltered sub-scores of the human by {title}\n\n" + _means(humans, key)
    collisions = humans.loc[humans[COLLISIONS] < 1, ["log_name", "token"]].itertuples(index=False)
    lines = [f"- {scene.log_name} {scene.token}" for scene in collisions]
    yield "\n".join([f"Human plans that collide: {len(lines)}", *lines])
    yield "### Worst comfort of human plans\n\n" + _worst(humans)
    yield "### Heading of moving agents against velocity and way [deg]\n\n" + _percentiles(slipping)
    yield "### Reading\n\n" + "\n".join(f"- {line}" for line in reading(root))


def reading(root: Path) -> Iterator[str]:
    """Bytes of the parts, and the rates of opening, reading and rendering in this process."""
    for part in sorted(path for path in root.iterdir() if path.is_dir()):
        files = [path.stat().st_size for path in part.rglob("*") if path.is_file()]
        yield f"`{part.name}/`: {sum(files) / 1e6:.2f} MB in {len(files)} files"
    opened = _timed(partial(Dataset, root, root / "splits" / "train.yaml"))
    dataset = Dataset(root, root / "splits" / "train.yaml")
    yield f"opening the train split: {opened:.2f} s for {len(dataset)} scenes"
    yield f"reading its scenes: {len(dataset) / _timed(lambda: [None for _ in dataset]):.0f} per second"
    scenes = [dataset.scene(token) for token in dataset.tokens[:: max(len(dataset) // IMAGES_OF, 1)][:IMAGES_OF]]
    render(scenes[0], CAMERAS, 256, 704)  # compiles
    seconds = _timed(lambda: [render(scene, CAMERAS, 256, 704) for scene in scenes])
    yield f"rendering their eight cameras at 256 x 704: {len(scenes) / seconds:.1f} scenes per second"


def _timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _counts(rows: pd.DataFrame, column: str, order) -> str:
    table = pd.crosstab(rows[column], rows["split"]).reindex(index=order, columns=SPLITS, fill_value=0)
    return table.reset_index().to_markdown(index=False)


def _percentiles(slipping: pd.DataFrame) -> str:
    table = slipping.groupby("category").quantile([0.5, 0.99, 1.0]).unstack()
    table.columns = [f"{name} p{100 * share:.0f}" for name, share in table.columns]
    table.insert(0, "n", slipping.groupby("category").size())
    return table.round(2).reset_index().to_markdown(index=False)


def _means(humans: pd.DataFrame, key: pd.Series) -> str:
    table = humans.groupby(key)[list(SUB_SCORES)].mean()
    table.loc["all"] = humans[list(SUB_SCORES)].mean()
    table.insert(0, "n", [*humans.groupby(key).size(), len(humans)])
    return table.round(3).rename_axis(key.name).reset_index().to_markdown(index=False)


def _worst(humans: pd.DataFrame) -> str:
    excesses = [name for name in humans if name.startswith("excess of ")]
    rows = humans.assign(quantity=humans[excesses].idxmax(axis=1).str.removeprefix("excess of "))
    rows = rows.assign(excess=humans[excesses].max(axis=1)).nlargest(WORST, "excess")
    rows["value"] = [row[row["quantity"]] for _, row in rows.iterrows()]
    return rows[["log_name", "token", "quantity", "value", "excess"]].round(3).to_markdown(index=False)
