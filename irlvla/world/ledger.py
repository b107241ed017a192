"""What an unfinished build has done so far: a folder beside its results, so that the same build can go on later.

`.build/fingerprint.json` says what the results depend on (seed, towns, code, libraries), `.build/<name>.json` holds
the facts of a finished part and is written after all of the part's files.
"""

import fcntl
import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import irlvla
from irlvla.world.export import write_file

LIBRARIES = ("eclipse-sumo", "libsumo", "sumolib", "numpy", "scipy", "shapely", "pyogrio", "clarabel")


def fingerprint(seed: int, towns: object) -> dict[str, object]:
    """Everything that the bytes of a dataset depend on, on one machine."""
    code = hashlib.sha256()
    package = Path(irlvla.__file__).parent
    for path in sorted(package.rglob("*.py")):
        code.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "seed": seed,
        "towns": hashlib.sha256(repr(towns).encode()).hexdigest(),
        "code": code.hexdigest(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


class Ledger:
    """Facts of the finished parts of a build in `root`, by name.

    Raises FileExistsError if `root` holds parts of another build, BlockingIOError if one is at work there.
    """

    def __init__(self, root: Path, fingerprint: dict[str, object]) -> None:
        self.folder = root / ".build"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")  # held until the process ends
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # children do not inherit it
        except OSError as error:
            raise BlockingIOError(f"{root}: another build is at work there") from error
        begun = self.read("fingerprint")
        if begun is None:
            self.write("fingerprint", fingerprint)
        elif begun != fingerprint:
            changed = ", ".join(name for name in fingerprint if begun.get(name) != fingerprint[name])
            raise FileExistsError(f"{root} is an unfinished build with another {changed}: remove it to begin again")

    def read(self, name: str) -> Any:
        """Facts of a finished part; None if it is not finished."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, name: str, facts: Any) -> None:
        """Mark a part as finished, after its last file is written."""
        write_file(self.folder / f"{name}.json", json.dumps(facts).encode())

    def close(self) -> None:
        """Remove the ledger: everything is finished."""
        self._lock.close()
        shutil.rmtree(self.folder)
