"""Which images of a frame are there, and whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from irlvla.scenes.fields import require
from irlvla.scenes.images import require_whole_image
from irlvla.world.findings import Findings


def check_images(cameras: Mapping[str, dict[str, Any]], sensors: Path, where: str, findings: Findings) -> None:
    """Counts the images of one frame below the folder `sensors`.

    Images come by the frame, and a part of the frames is what the real training data have. So a frame without any is
    only counted; one that has some and lacks others is broken.
    """
    for name, camera in cameras.items():
        require(camera, ("data_path",), f"{where}: {name}")
    paths = {name: sensors / str(camera["data_path"]) for name, camera in cameras.items()}
    missing = [name for name, path in paths.items() if not path.is_file()]
    findings.count("images there", len(paths) - len(missing), len(paths))
    if len(missing) == len(paths):
        return
    for name, path in paths.items():
        if name in missing:
            problem = f"{where}: {name}: {path} is missing; render or download it"
            findings.problems.setdefault("images there", []).append(problem)
            continue
        with findings.examining("images whole", path):
            require_whole_image(path)
