"""Which moments of a video are looked at: pure choosing of times, nothing is decoded here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from encoders.errors import MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling, SamplingMethod

__all__ = [
    "FEWEST",
    "FILL",
    "KEYFRAME",
    "MAX_FRAMES",
    "MAX_SIDE",
    "SCENE",
    "Wanted",
    "check_sampling",
    "filled",
    "middles",
    "stretch",
    "thinned",
    "timed",
    "uniform",
]

MAX_FRAMES = 256
MAX_SIDE = 4096
FEWEST = 5
"""Keyframes or scenes fewer than this are filled up to it with frames from the widest gaps."""

KEYFRAME, SCENE, FILL = "keyframe", "scene", "fill"
"""Why a frame was chosen; of the other methods the reason is their name."""

_MAX_FRAMES_PER_SECOND = 60.0

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A moment in seconds from the video's beginning, and why it is looked at."""

    time_seconds: float
    reason: str


def check_sampling(sampling: FrameSampling) -> None:
    """Raise for what no video could satisfy: ``MediaTooLarge`` for counts, else ``UnsupportedMedia``."""
    known = [method.value for method in SamplingMethod]
    if sampling.method not in known:
        raise UnsupportedMedia(
            f"The frame sampling '{sampling.method[:32]}' is not known; use one of {', '.join(known)}."
        )
    if not 1 <= sampling.max_frames <= MAX_FRAMES:
        raise MediaTooLarge(f"max_frames is {sampling.max_frames}; it must be from 1 to {MAX_FRAMES}.")
    if not 1 <= sampling.max_side <= MAX_SIDE:
        raise MediaTooLarge(f"max_side is {sampling.max_side}; it must be from 1 to {MAX_SIDE} pixels.")
    rate = sampling.frames_per_second
    if sampling.method == SamplingMethod.FPS and not 0 < rate <= _MAX_FRAMES_PER_SECOND:
        raise UnsupportedMedia(
            f"frames_per_second is {rate:g}; it must be more than 0 and at most {_MAX_FRAMES_PER_SECOND:g}."
        )
    start, end = sampling.start_seconds, sampling.end_seconds
    if not (math.isfinite(start) and start >= 0):
        raise UnsupportedMedia(f"start_seconds is {start:g}; it must be 0 or more.")
    if end is not None and not (math.isfinite(end) and end > start):
        raise UnsupportedMedia(
            f"end_seconds is {end:g} and start_seconds {start:g}; the end must come after the start."
        )


def stretch(sampling: FrameSampling, seconds: float) -> tuple[float, float]:
    """Start and end in seconds of the part to look at; ``UnsupportedMedia`` when it begins after the end."""
    start = sampling.start_seconds
    if start > 0 and start >= seconds:
        raise UnsupportedMedia(
            f"start_seconds is {start:g}, but the video is only {seconds:.2f} seconds long; "
            "choose an earlier start."
        )
    end = sampling.end_seconds
    return start, max(start, seconds if end is None else min(end, seconds))


def timed(sampling: FrameSampling, seconds: float) -> list[Wanted]:
    """The moments of the two methods that need no look at the video, ``uniform`` and ``fps``, in order."""
    start, end = stretch(sampling, seconds)
    if sampling.method == SamplingMethod.FPS:
        count = max(1, math.ceil((end - start) * sampling.frames_per_second - 1e-6))
        times = [start + index / sampling.frames_per_second for index in range(count)]
        return [Wanted(time, SamplingMethod.FPS.value) for time in thinned(times, sampling.max_frames)]
    return [Wanted(time, SamplingMethod.UNIFORM.value) for time in uniform(start, end, sampling.max_frames)]


def uniform(start: float, end: float, count: int) -> list[float]:
    """The middles of ``count`` equal stretches."""
    return [start + (end - start) * (index + 0.5) / count for index in range(count)]


def middles(start: float, end: float, cuts: Sequence[float]) -> list[float]:
    """The middle of each scene between ``start`` and ``end``, where scenes begin at the ``cuts``."""
    edges = [start, *(cut for cut in cuts if start < cut < end), end]
    return [(earlier + later) / 2 for earlier, later in pairwise(edges)]


def thinned(items: Sequence[_Item], count: int) -> list[_Item]:
    """All, or ``count`` of them evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[int((index + 0.5) * len(items) / count)] for index in range(count)]


def filled(found: Sequence[Wanted], start: float, end: float, count: int) -> list[Wanted]:
    """``found`` and as many moments more, for reason ``fill``, as make ``count``, all in order.

    Each is put in the middle of the widest gap there is. With nothing found it is plain ``uniform`` spacing.
    """
    if not found:
        return [Wanted(time, FILL) for time in uniform(start, end, count)]
    chosen = sorted(found)
    while len(chosen) < count:
        edges = [start, *(one.time_seconds for one in chosen), end]
        gaps = [later - earlier for earlier, later in pairwise(edges)]
        widest = gaps.index(max(gaps))
        chosen.insert(widest, Wanted((edges[widest] + edges[widest + 1]) / 2, FILL))
    return chosen
