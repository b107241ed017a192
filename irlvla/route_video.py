"""A recorded drive as a film: the front camera above the view from above, at every replan.

    python -m irlvla.route_video runs/closed_loop/drives/imitation RouteScenario_0 film.mp4

The ending of the file chooses: .mp4 or .gif.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from irlvla.plots import draw_bev, set_style
from irlvla.plots_camera import draw_camera
from irlvla.scenes.scene import Scene
from irlvla.suite import film, read_record
from irlvla.world.cameras import render
from irlvla.world.recording import Place

RATE_HZ = 4  # pictures a second; replans are at 2 Hz, so the film runs at twice the speed of the drive
CAMERA = "CAM_F0"
IMAGE_HW = (216, 594)
Picture = NDArray[np.uint8]  # (H, W, 3) RGB


def picture(scene: Scene, plan: NDArray, title: str) -> Picture:
    """One moment of the film."""
    figure = Figure(figsize=(4.0, 5.2), dpi=120)
    canvas = FigureCanvasAgg(figure)
    camera, above = figure.subplots(2, 1, height_ratios=(1.45, 3.6))
    draw_camera(camera, render(scene, (CAMERA,), *IMAGE_HW)[0], scene, CAMERA, {"plan": plan}, boxes=False)
    draw_bev(above, scene, {"plan": plan}, ahead_m=40, behind_m=14, side_m=30)
    camera.set_title(title, fontsize="small")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_video(path: Path, pictures: Iterable[Picture]) -> None:
    """Write pictures of one size as .mp4 or .gif. Raises ValueError for another ending, or if there is no picture."""
    pictures = list(pictures)
    if not pictures:
        raise ValueError(f"{path}: the drive has no replan to show")
    if path.suffix == ".gif":
        first, *others = [Image.fromarray(image) for image in pictures]
        first.save(path, save_all=True, append_images=others, duration=1000 // RATE_HZ, loop=0)
    elif path.suffix == ".mp4":
        height, width = (side - side % 2 for side in pictures[0].shape[:2])  # the codec wants even sides
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE_HZ, (width, height))
        for image in pictures:
            writer.write(np.ascontiguousarray(image[:height, :width, ::-1]))
        writer.release()
    else:
        raise ValueError(f"{path}: films are .mp4 or .gif")


def route_pictures(
    folder: Path, route_id: str, data_root: Path, first: int = 0, last: int | None = None
) -> Iterator[Picture]:
    """Pictures of a drive below `folder` (drives/<driver>), from its replan `first` up to before `last`.

    Raises FileNotFoundError naming the record if the route was not driven.
    """
    record = read_record(folder / "results" / f"{route_id}.json")
    town_map = Place.of(data_root, record["meta"]["town"]).town_map()
    for index, (scene, plan) in islice(enumerate(film(folder, route_id, town_map)), first, last):
        speed_mps = scene.ego_velocity_mps[scene.now, 0]
        title = f"{folder.name}, {record['meta']['scenario']}: {index / 2:.1f} s, {speed_mps:.1f} m/s"
        yield picture(scene, plan, title)


def write_film(
    folder: Path, route_id: str, data_root: Path, path: Path, first: int = 0, last: int | None = None
) -> None:
    """Film a drive below `folder`, or its replans `first` ... `last` - 1, into `path`, in the project's style.

    One call does everything, so that several can run in parallel processes.
    """
    set_style()
    write_video(path, route_pictures(folder, route_id, data_root, first, last))


def main(arguments: list[str] | None = None) -> None:
    """Write the film of a route."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.route_video", description=__doc__.splitlines()[0])
    parser.add_argument("drives", type=Path, help="runs/closed_loop/drives/<driver>")
    parser.add_argument("route")
    parser.add_argument("out", type=Path)
    parser.add_argument("--root", type=Path, default=Path("data"), help="dataset with the towns")
    options = parser.parse_args(arguments)
    write_film(options.drives, options.route, options.root, options.out)


if __name__ == "__main__":
    main()
