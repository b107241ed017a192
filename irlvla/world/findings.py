"""What an examination of a dataset counted, and what it found broken."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a file that is not as it should be can make its reader raise, beside the reader's own ValueError.
DAMAGE = (ValueError, LookupError, OSError, TypeError, AttributeError, RuntimeError)


class Findings:
    """N of M per kind of thing, in the order of their first count, and the broken ones by name."""

    def __init__(self) -> None:
        self.sound: dict[str, int] = {}
        self.of: dict[str, int] = {}
        self.problems: dict[str, list[str]] = {}

    def count(self, kind: str, sound: int, of: int) -> None:
        """Things that are there, or not, without being broken: a dataset may hold a part of the images."""
        self.sound[kind] = self.sound.get(kind, 0) + sound
        self.of[kind] = self.of.get(kind, 0) + of

    def expect(self, kind: str, holds: bool, problem: str) -> None:
        """One more thing of a kind, which is broken unless it `holds`."""
        self.count(kind, int(holds), 1)
        if not holds:
            self.problems.setdefault(kind, []).append(problem)

    @contextmanager
    def examining(self, kind: str, path: Path) -> Iterator[None]:
        """Counts one file of a kind, as broken if what is done inside raises."""
        try:
            yield
        except DAMAGE as error:
            known = isinstance(error, ValueError) and str(path) in str(error)
            self.expect(kind, False, str(error) if known else f"{path}: {type(error).__name__}: {error}")
        else:
            self.expect(kind, True, "")

    def lines(self) -> list[str]:
        """A line per kind, N of M, then one for everything that is broken."""
        lines = [f"{kind}: {self.sound[kind]:,} of {of:,}" for kind, of in self.of.items()]
        broken = [f"  {kind}: {problem}" for kind, problems in self.problems.items() for problem in problems]
        return [*lines, f"broken: {len(broken):,}", *broken]
