"""Frames of a video at chosen times, upright, as RGB of moderate size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from encoders.config import DecodeLimits
from encoders.decoding.sniff import Sniffed
from encoders.decoding.stream import check_seconds, open_container, seconds_of, start_seconds, track
from encoders.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling, MediaKind

__all__ = ["MAX_FRAMES", "MAX_SIDE", "SampledFrame", "displayed_size", "sample_frames"]

MAX_FRAMES = 256
MAX_SIDE = 768

# Shorter jumps are decoded through: a seek goes back to a keyframe and costs a decoder flush.
_SEEK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A decoded frame: seconds from the medium's beginning, why it was chosen, RGB ``(h, w, 3)``."""

    time_seconds: float
    reason: str
    pixels: NDArray[np.uint8]


def sample_frames(
    data: bytes, sniffed: Sniffed, limits: DecodeLimits, sampling: FrameSampling
) -> tuple[float, list[SampledFrame]]:
    """Length in seconds, and at most ``max_frames`` distinct frames in order of time.

    ``uniform``: the frame shown at the middle of each of N equal stretches. A partly broken file gives what
    decodes; ``CorruptMedia`` when that is nothing.
    """
    if sampling.method != "uniform":
        raise UnsupportedMedia(f"The frame sampling '{sampling.method[:32]}' is not known; use 'uniform'.")
    if not 1 <= sampling.max_frames <= MAX_FRAMES:
        raise MediaTooLarge(f"max_frames is {sampling.max_frames}; it must be from 1 to {MAX_FRAMES}.")
    seekable = True
    with open_container(data, sniffed) as container:
        stream = track(container, MediaKind.VIDEO, limits)
        seconds = seconds_of(container, stream)
        check_seconds(MediaKind.VIDEO, seconds, limits)
        if seconds is None:  # live recordings: only the packets tell, and there is no index to seek by
            seekable = False
            seconds = _measured_seconds(container, stream)
            check_seconds(MediaKind.VIDEO, seconds, limits)
    with open_container(data, sniffed) as container:
        stream = track(container, MediaKind.VIDEO, limits)
        start = start_seconds(container, stream)
        middles = [seconds * (index + 0.5) / sampling.max_frames for index in range(sampling.max_frames)]
        chosen: list[SampledFrame] = []
        for time, frame in _shown_at(container, stream, start, middles, seekable):
            if not chosen or time > chosen[-1].time_seconds:
                chosen.append(SampledFrame(time, "uniform", _upright(frame, stream)))
    if not chosen:
        raise CorruptMedia("The video is damaged: no frame of it can be decoded.")
    return max(seconds, chosen[-1].time_seconds), chosen


def displayed_size(container: Any, stream: Any) -> tuple[int, int]:
    """Width and height after rotation and pixel shape. Decodes one frame: only frames tell their rotation."""
    context = stream.codec_context
    for _, frame in _decoded(container, stream, 0.0):
        return _displayed(frame, stream)
    return context.width, context.height


def _measured_seconds(container: Any, stream: Any) -> float:
    """Length from the packets' times, without decoding."""
    end, start = 0.0, start_seconds(container, stream)
    try:
        for packet in container.demux(stream):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
    except av.error.FFmpegError:
        pass  # broken at its end: what was counted so far is its length
    return end


def _decoded(container: Any, stream: Any, start: float) -> Iterator[tuple[float, Any]]:
    """(time, frame) of what decodes from here on. Damaged packets are left out; frames need a time."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return  # the end, or the container breaks off here
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if frame.time is not None and not frame.is_corrupt:
                yield max(0.0, round(float(frame.time) - start, 6)), frame


def _shown_at(
    container: Any, stream: Any, start: float, times: list[float], seekable: bool
) -> Iterator[tuple[float, Any]]:
    """For each rising time the frame on screen then: the last that began before it, else the first after."""
    frames = _decoded(container, stream, start)
    shown: tuple[float, Any] | None = None
    coming = next(frames, None)
    for time in times:
        if seekable and coming is not None and time - coming[0] > _SEEK_SECONDS:
            keyframe = _keyframe_before(stream, start, time)
            # Without an index (Matroska reads its own on the first seek) a seek is tried once.
            sought = (
                _seek(container, stream, start, time) if keyframe is None or keyframe > coming[0] else None
            )
            if sought is not None and sought[0][0] > coming[0]:
                (coming, frames), shown = sought, None
            elif sought is not None:  # it went back: catch up below, and seek no more if that could repeat
                coming, frames = sought
                seekable = _keyframe_before(stream, start, time) is not None
        while coming is not None and coming[0] <= time:
            shown, coming = coming, next(frames, None)
        picked = shown if shown is not None else coming
        if picked is not None:
            yield picked


def _keyframe_before(stream: Any, start: float, time: float) -> float | None:
    """Time of the last keyframe at or before ``time`` by the container's index, ``None`` without an index."""
    entries = stream.index_entries
    if len(entries) < 2:
        return None
    found = entries.search_timestamp(int((time + start) / stream.time_base), backward=True)
    return float(entries[found].timestamp * stream.time_base) - start if found >= 0 else None


def _seek(
    container: Any, stream: Any, start: float, time: float
) -> tuple[tuple[float, Any], Iterator[tuple[float, Any]]] | None:
    """Go to the keyframe before ``time``; ``None`` when the container cannot or nothing decodes there."""
    try:
        container.seek(int((time + start) / stream.time_base), stream=stream, backward=True, any_frame=False)
    except av.error.FFmpegError:
        return None
    frames = _decoded(container, stream, start)
    first = next(frames, None)
    return None if first is None else (first, frames)


def _displayed(frame: Any, stream: Any) -> tuple[int, int]:
    """Size on screen: non-square pixels widened, then turned."""
    ratio = stream.sample_aspect_ratio
    shape = float(ratio) if ratio and 0.1 < float(ratio) < 10 else 1.0
    width, height = max(1, round(frame.width * shape)), frame.height
    return (height, width) if round(frame.rotation / 90) % 2 else (width, height)


def _upright(frame: Any, stream: Any) -> NDArray[np.uint8]:
    """RGB of the frame as displayed, its longer side at most ``MAX_SIDE``."""
    width, height = _displayed(frame, stream)
    scale = min(1.0, MAX_SIDE / max(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    turns = round(frame.rotation / 90) % 4
    if turns % 2:
        width, height = height, width
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(picture, turns))
