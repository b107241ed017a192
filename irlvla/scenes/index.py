"""What each file of a dataset holds, remembered between runs: opening 100,000 scenes must not read every log again.

The memory is one SQLite file in the user's cache folder, since datasets may lie on read-only storage. An entry counts
only for a file of the same path, size and modification time, so it can't go stale; the whole file may be deleted at
any time. Where it can't be read or written, every file is read again, with a warning.
"""

import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irlvla.progress import progress

VERSION = 1  # of the summaries' contents: another number is another file
UNREAD_WITHOUT_BAR = 50  # fewer logs than this take a second or two
READ_PER_COMMIT = 100  # what an interrupted first opening loses at most
Summary = dict[str, Any]  # of plain JSON


@dataclass(frozen=True)
class Stamp:
    """A file in a certain state."""

    path: Path
    size: int
    modified_ns: int


def stamp(path: Path) -> Stamp:
    """Raises FileNotFoundError naming the file."""
    found = path.stat()
    return Stamp(path, found.st_size, found.st_mtime_ns)


def index_path() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "irlvla" / f"files-{VERSION}.sqlite"


def summaries(paths: Sequence[Path], summarize: Callable[[Path], Summary]) -> list[tuple[Stamp, Summary]]:
    """`summarize(path)` of every file, from memory where the file has not changed since."""
    stamps = [stamp(path) for path in paths]
    known = _recalled(stamps)
    unread = [s for s in stamps if s not in known]
    fresh: dict[Stamp, Summary] = {}
    for s in progress(unread, "indexing") if len(unread) > UNREAD_WITHOUT_BAR else unread:
        fresh[s] = summarize(s.path)
        if len(fresh) == READ_PER_COMMIT:
            _remember(fresh)
            known |= fresh
            fresh = {}
    _remember(fresh)
    known |= fresh
    return [(s, known[s]) for s in stamps]


def _recalled(stamps: Iterable[Stamp]) -> dict[Stamp, Summary]:
    query = "SELECT summary FROM files WHERE path = ? AND size = ? AND modified_ns = ?"
    try:
        with closing(_memory()) as memory:
            found = [(s, memory.execute(query, _key(s)).fetchone()) for s in stamps]
    except (sqlite3.Error, OSError) as error:
        _warn(error)
        return {}
    return {s: json.loads(row[0]) for s, row in found if row}


def _remember(read: dict[Stamp, Summary]) -> None:
    if not read:
        return
    rows = [(*_key(s), json.dumps(summary)) for s, summary in read.items()]
    try:
        with closing(_memory()) as memory:
            memory.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
            memory.commit()
    except (sqlite3.Error, OSError) as error:
        _warn(error)


def _memory() -> sqlite3.Connection:
    index_path().parent.mkdir(parents=True, exist_ok=True)
    memory = sqlite3.connect(index_path())
    memory.execute("CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INT, modified_ns INT, summary TEXT)")
    return memory


def _key(s: Stamp) -> tuple[str, int, int]:
    return os.path.abspath(s.path), s.size, s.modified_ns


def _warn(error: Exception) -> None:
    """The memory must not keep anyone from their data."""
    warnings.warn(f"{index_path()}: not usable, so logs are read again: {error}; delete it if damaged", stacklevel=2)
