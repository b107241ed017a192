"""A town of nine junctions, small enough to be built in a test."""

import hashlib
from pathlib import Path

from irlvla.world.town import JUNCTIONS, Town

TINY = Town(
    "tiny", "test",
    ("netgenerate", "--grid", "--grid.number", "3", "--grid.length", "170", "-L", "2", "--default.speed", "11.1",
     *JUNCTIONS),
    (402_000.0, 5_840_000.0), 1, logs=2, groups=1, cars_per_km=4.0, pedestrians=4,
)  # fmt: skip


def digests(root: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
