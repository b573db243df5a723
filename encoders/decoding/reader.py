"""Walking through a video's frames: what is on screen at given moments, with as little decoding as that takes."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import av.error

from encoders.decoding.sampling import Wanted

__all__ = ["decoded", "go_to", "measured_seconds", "shown_at"]

# Shorter jumps are decoded through: a seek goes back to a keyframe and costs a decoder flush.
_SEEK_SECONDS = 1.0

# Indexes hold decoding times, so a seek may end at a keyframe that is shown a little too late: further back then.
_BACK_SECONDS = (0.0, 1.0, 10.0)

# How far ahead of a packet others are read to learn whether its frame stays on screen; far more than any
# encoder reorders.
_MAX_AHEAD = 64

# Times closer than this count as one where frames could be left out, so that rounding loses none.
_SAME_SECONDS = 1e-3


def measured_seconds(container: Any, stream: Any, start: float) -> float:
    """Length from the packets' times, without decoding. The container is at its end afterwards."""
    end = 0.0
    try:
        for packet in container.demux(stream):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
    except av.error.FFmpegError:
        pass  # broken at its end: what was counted so far is its length
    return end


def decoded(
    container: Any, stream: Any, start: float, times: Sequence[float] | None = None
) -> Iterator[tuple[float, Any]]:
    """(time, frame) of what decodes from here on. Damaged packets are left out; frames need a time.

    With rising ``times`` (there may be none), frames that no other is predicted from and that are on screen at
    none of these moments are not decoded: about half of all in common H.264 and HEVC.
    """
    context = stream.codec_context
    packets = _packets(container, stream)
    marked = _marked(packets, stream, start, times) if times is not None else ((one, True) for one in packets)
    for packet, needed in marked:
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is not None and not frame.is_corrupt:
                yield max(0.0, round(float(frame.pts * stream.time_base) - start, 6)), frame


def shown_at(
    container: Any, stream: Any, start: float, wanted: Sequence[Wanted], seekable: bool
) -> Iterator[tuple[float, Wanted, Any]]:
    """(time, wish, frame) for each wish: the frame on screen then, the last that began before it, else the first.

    The same frame comes again when several wishes fall on it.
    """
    times = [one.time_seconds for one in wanted]
    frames = decoded(container, stream, start, times)
    shown: tuple[float, Any] | None = None
    coming = next(frames, None)
    for wish in wanted:
        time = wish.time_seconds
        if seekable and coming is not None and time - coming[0] > _SEEK_SECONDS:
            keyframe = _keyframe_before(stream, start, time)
            # Without an index (Matroska reads its own on the first seek) a seek is tried once.
            sought = (
                _seek(container, stream, start, time, times)
                if keyframe is None or keyframe > coming[0]
                else None
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
            yield picked[0], wish, picked[1]


def go_to(container: Any, stream: Any, start: float, time: float) -> bool:
    """Have the next packet be that of the last keyframe before ``time``; False when the container cannot."""
    ticks = int((max(0.0, time) + start) / stream.time_base)
    try:
        container.seek(ticks, stream=stream, backward=True, any_frame=False)
    except av.error.FFmpegError:
        return False
    return True


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.error.FFmpegError):
            return  # the end, or the container breaks off here


def _marked(
    packets: Iterator[Any], stream: Any, start: float, times: Sequence[float]
) -> Iterator[tuple[Any, bool]]:
    """Each packet, and whether its frame may be the one on screen at one of ``times``.

    It is not when another frame begins between it and the next of the times. Packets come in the order of
    decoding, so a few are read ahead; the decoding times tell when no such frame can follow.
    """
    base = float(stream.time_base)
    earliest = [int((time - _SAME_SECONDS + start) / base) for time in times]
    latest = [int((time + _SAME_SECONDS + start) / base) for time in times]
    ahead: deque[Any] = deque()
    for packet in packets:
        ahead.append(packet)
        while ahead:
            verdict = _needed(ahead, earliest, latest)
            if verdict is None:
                break  # read one more
            yield ahead.popleft(), verdict
    while ahead:
        yield ahead.popleft(), True


def _needed(ahead: deque[Any], earliest: Sequence[int], latest: Sequence[int]) -> bool | None:
    """Whether the first packet's frame is needed; ``None`` when more must be read to tell."""
    first = ahead[0]
    if first.pts is None or first.dts is None or len(ahead) > _MAX_AHEAD:
        return True
    at = bisect_left(latest, first.pts)
    if at == len(latest):
        return False  # past the last moment
    if earliest[at] <= first.pts:
        return True
    until = earliest[at]
    for other in ahead:
        if other.pts is None or other.dts is None:
            return True
        if first.pts < other.pts <= until:
            return False
    return True if ahead[-1].dts > until else None


def _keyframe_before(stream: Any, start: float, time: float) -> float | None:
    """Time of the last keyframe at or before ``time`` by the container's index, ``None`` without an index."""
    entries = stream.index_entries
    if len(entries) < 2:
        return None
    found = entries.search_timestamp(int((time + start) / stream.time_base), backward=True)
    return float(entries[found].timestamp * stream.time_base) - start if found >= 0 else None


def _seek(
    container: Any, stream: Any, start: float, time: float, times: Sequence[float]
) -> tuple[tuple[float, Any], Iterator[tuple[float, Any]]] | None:
    """Go to the keyframe before ``time``; ``None`` when the container cannot or nothing decodes there."""
    for back in _BACK_SECONDS:
        if not go_to(container, stream, start, time - back):
            return None
        frames = decoded(container, stream, start, times)
        first = next(frames, None)
        if first is None or first[0] <= time:
            break
    return None if first is None else (first, frames)
