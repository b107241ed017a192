"""Which windows of which logs a scene filter makes scenes of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from irlvla.scenes.index import Stamp
from irlvla.scenes.split import SceneFilter


@dataclass(frozen=True)
class LogFile:
    """A log as the index knows it; one entry per frame."""

    stamp: Stamp
    tokens: tuple[str, ...]
    routed: tuple[bool, ...]

    @property
    def name(self) -> str:
        return self.stamp.path.stem


def windows_of(logs: Iterable[LogFile], wanted: SceneFilter) -> dict[str, tuple[Stamp, int]]:
    """Token of a window's present frame -> (log, index of its first frame), in the order of the logs.

    Raises ValueError naming both logs where two windows have one token.
    """
    tokens = None if wanted.tokens is None else set(wanted.tokens)
    now, length = wanted.num_history_frames - 1, wanted.num_history_frames + wanted.num_future_frames
    windows: dict[str, tuple[Stamp, int]] = {}
    for log in logs:
        for start in range(0, len(log.tokens) - length + 1, wanted.frame_interval or length):
            token = log.tokens[start + now]
            if (wanted.has_route and not log.routed[start + now]) or (tokens is not None and token not in tokens):
                continue
            if token in windows:
                raise ValueError(f"{log.stamp.path}: token {token} is also in {windows[token][0].path}")
            windows[token] = (log.stamp, start)
            if len(windows) == wanted.max_scenes:
                return windows
    return windows


def why_no_window(token: str, logs: Sequence[LogFile], wanted: SceneFilter) -> str:
    """Why a wanted token is none of `windows_of`, for a message."""
    for log in logs:
        if token not in log.tokens:
            continue
        at, frames = log.tokens.index(token), len(log.tokens)
        if wanted.has_route and not log.routed[at]:
            return f"{log.stamp.path}: frame {token}: roadblock_ids is empty, and the filter wants a route"
        history, future = wanted.num_history_frames, wanted.num_future_frames
        return (
            f"{log.stamp.path}: frame {token} is number {at + 1} of {frames}: no window of {history} frames up to it "
            f"and {future} after it fits there"
        )
    folder = logs[0].stamp.path.parent
    return f"{folder}: token {token} is in no frame of its {len(logs)} logs; is the split of other data, a log missing?"
