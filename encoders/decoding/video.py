"""Frames of a video at chosen times, upright, as RGB of moderate size, one by one as they are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from encoders.config import DecodeLimits
from encoders.decoding.keyframes import decoded_keyframes, keyframe_times
from encoders.decoding.near_duplicates import NearDuplicates
from encoders.decoding.reader import decoded, measured_seconds, shown_at
from encoders.decoding.rgb import size_on_screen, upright
from encoders.decoding.sampling import (
    FEWEST,
    KEYFRAME,
    SCENE,
    Wanted,
    check_sampling,
    filled,
    middles,
    stretch,
    thinned,
    timed,
)
from encoders.decoding.scenes import scene_changes
from encoders.decoding.sniff import Sniffed
from encoders.decoding.stream import check_seconds, open_container, seconds_of, start_seconds, track
from encoders.errors import CorruptMedia
from encoders.types import FrameSampling, MediaKind, Pixels, SamplingMethod, VideoSummary

__all__ = ["SampledFrame", "displayed_size", "sample_frames"]


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A decoded frame: seconds from the medium's beginning, why it was chosen, RGB ``(h, w, 3)``."""

    time_seconds: float
    reason: str
    pixels: Pixels


def sample_frames(
    file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits, sampling: FrameSampling
) -> Iterator[SampledFrame | VideoSummary]:
    """At most ``max_frames`` distinct frames in order of time, each as it is decoded; the summary comes last.

    ``uniform``: the frame on screen at the middle of each of N equal stretches. ``fps``: those on screen at so
    many moments a second. ``keyframes``: I-frames, nothing else is decoded. ``scene``: the frame at the middle
    of each scene. Fewer than five keyframes or scenes are filled up with frames between them. Never more than
    one full-size frame is held here. A partly broken file gives what decodes; ``CorruptMedia`` when that is
    nothing, ``UnsupportedMedia`` or ``MediaTooLarge`` for a sampling that cannot be.
    """
    check_sampling(sampling)
    duplicates = NearDuplicates()
    last = -1.0
    with _Video(file, sniffed, limits) as video:
        seconds = video.declared_seconds()
        seekable = seconds is not None
        if seconds is None:  # live recordings: only the packets tell, and there is no index to seek by
            seconds = measured_seconds(video.container, video.stream, video.start)
            check_seconds(MediaKind.VIDEO, seconds, limits)
            video.rewind()
        wanted, changes = _wanted(video, sampling, seconds)
        for time, wish, frame in _looked_at(video, wanted, seekable):
            if time <= last:
                continue
            last = time
            pixels = upright(frame, video.stream, sampling.max_side)
            if not sampling.drop_near_duplicates or duplicates.keep(time, pixels):
                yield SampledFrame(time, wish.reason, pixels)
    if last < 0:
        raise CorruptMedia("The video is damaged: no frame of it can be decoded.")
    yield duplicates.summary(max(seconds, last), changes)


def displayed_size(container: Any, stream: Any) -> tuple[int, int]:
    """Width and height as displayed. Decodes one frame: only frames tell their rotation."""
    context = stream.codec_context
    for _, frame in decoded(container, stream, 0.0):
        return size_on_screen(frame, stream)
    return context.width, context.height


def _wanted(video: _Video, sampling: FrameSampling, seconds: float) -> tuple[list[Wanted], list[float]]:
    """The moments to look at, in order, and when scenes change if that was looked for. Leaves the video at its
    beginning.
    """
    if sampling.method in (SamplingMethod.UNIFORM, SamplingMethod.FPS):
        return timed(sampling, seconds), []
    changes: list[float] = []
    start, end = stretch(sampling, seconds)
    if sampling.method == SamplingMethod.KEYFRAMES:
        times = keyframe_times(video.container, video.stream, video.start)
        times = [time for time in times if start <= time < end or time == 0.0 == start]
    else:
        changes = scene_changes(video.container, video.stream, video.start, start, end)
        times = middles(start, end, changes)
    video.rewind()
    reason = KEYFRAME if sampling.method == SamplingMethod.KEYFRAMES else SCENE
    found = [Wanted(time, reason) for time in times]
    if len(found) < min(FEWEST, sampling.max_frames):
        return filled(found, start, end, min(FEWEST, sampling.max_frames)), changes
    return thinned(found, sampling.max_frames), changes


def _looked_at(
    video: _Video, wanted: Sequence[Wanted], seekable: bool
) -> Iterator[tuple[float, Wanted, Any]]:
    """(time, wish, frame) of what decodes. When all that is wanted are I-frames, only these are decoded."""
    if all(one.reason == KEYFRAME for one in wanted):
        wishes = {one.time_seconds: one for one in wanted}
        found = False
        for time, frame in decoded_keyframes(video.container, video.stream, video.start, wishes):
            if time in wishes:
                found = True
                yield time, wishes[time], frame
        if found:
            return
        video.rewind()
    yield from shown_at(video.container, video.stream, video.start, wanted, seekable)


class _Video:
    """The track of pictures of a file, opened again for every pass over it."""

    def __init__(self, file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits) -> None:
        self._file, self._sniffed, self._limits = file, sniffed, limits
        self._opened = ExitStack()
        self.container: Any
        self.stream: Any
        self.start: float

    def __enter__(self) -> Self:
        self.container = self._opened.enter_context(open_container(self._file, self._sniffed))
        self.stream = track(self.container, MediaKind.VIDEO, self._limits)
        self.start = start_seconds(self.container, self.stream)
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._opened.__exit__(*error)

    def rewind(self) -> None:
        """Back to the beginning. Not by a seek: recordings without an index cannot, and decoders keep state."""
        self._opened.close()
        self.__enter__()

    def declared_seconds(self) -> float | None:
        """Length by the header, within the limits; ``None`` when it has none."""
        seconds = seconds_of(self.container, self.stream)
        check_seconds(MediaKind.VIDEO, seconds, self._limits)
        return seconds
