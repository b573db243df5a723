"""Scenes of a video, by PySceneDetect's detectors on small pictures decoded here.

``AdaptiveDetector`` compares how much hue, saturation and brightness change between two pictures with the
changes around them, so that fast motion is no cut; ``ContentDetector`` holds the change against a fixed
threshold. PySceneDetect opens no file: it is only handed pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from encoders.decoding.keyframes import decoded_keyframes
from encoders.decoding.reader import decoded, go_to

__all__ = ["SceneFinder", "scene_changes"]

cv2.setNumThreads(1)

# PySceneDetect's own choice; the thresholds are meant for pictures of about this size.
_SMALL_SIDE = 256
_SHORTEST_SECONDS = 0.6
_CLOCK = Fraction(1, 1_000_000)

_MAX_PIXELS = 6e9

# Pictures a second that are compared: cuts are found to a tenth of a second, which is plenty for the middles.
_COMPARED_PER_SECOND = 12.5


class SceneFinder:
    """Takes small pictures in order of time and finds where scenes begin."""

    def __init__(self, sparse: bool = False) -> None:
        """``sparse``: the pictures are seconds apart, so that their neighbours say little about motion."""
        detector = ContentDetector if sparse else AdaptiveDetector
        self._detector = detector(min_scene_len=_SHORTEST_SECONDS)
        self._cuts: list[float] = []
        self._last: FrameTimecode | None = None

    def add(self, time_seconds: float, picture: NDArray[np.uint8]) -> None:
        """One picture, BGR ``(h, w, 3)``, all of one size; its time must be later than the one's before."""
        now = FrameTimecode(Timecode(round(time_seconds / _CLOCK), _CLOCK), fps=Fraction(25))
        self._last = now
        self._cuts += [float(cut.seconds) for cut in self._detector.process_frame(now, picture)]

    def cuts(self) -> list[float]:
        """Times at which a new scene begins, in order; the video's beginning is not among them."""
        if self._last is not None:
            self._cuts += [float(cut.seconds) for cut in self._detector.post_process(self._last)]
            self._last = None
        return sorted(self._cuts)


def scene_changes(container: Any, stream: Any, begin: float, start: float, end: float) -> list[float]:
    """When new scenes begin between ``start`` and ``end`` (seconds; ``begin``: time of the beginning), in order.

    Decodes what lies between, except frames that no other needs, and keeps no picture but the last. Where that
    would be too much work (more than ``_MAX_PIXELS``: 96 seconds of 1080p at 30 a second) only I-frames are
    compared, which encoders put where scenes begin.
    """
    context = stream.codec_context
    pixels = (end - start) * float(stream.average_rate or 30) * context.width * context.height
    if start > 0:
        go_to(container, stream, begin, start)
    sparse = pixels > _MAX_PIXELS
    finder = SceneFinder(sparse)
    frames = decoded_keyframes(container, stream, begin) if sparse else decoded(container, stream, begin, [])
    for time, picture in _small_pictures(frames, start, end):
        finder.add(time, picture)
    return finder.cuts()


def _small_pictures(
    frames: Iterator[tuple[float, Any]], start: float, end: float
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    reformatter, due = VideoReformatter(), start
    size: tuple[int, int] | None = None
    for time, frame in frames:
        if time >= end:
            return
        if time < due:
            continue
        due = max(due + 1 / _COMPARED_PER_SECOND, time)
        if size is None:
            scale = min(1.0, _SMALL_SIDE / max(frame.width, frame.height))
            size = max(8, round(frame.width * scale)), max(8, round(frame.height * scale))
        small = reformatter.reformat(frame, *size, "bgr24", interpolation="AREA", threads=1)
        pixels: Any = small.to_ndarray()
        yield time, pixels
