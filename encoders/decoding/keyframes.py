"""I-frames of a video: found from packets alone, decoded without the frames between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

import av.error
from av.stream import Discard

__all__ = ["decoded_keyframes", "keyframe_times"]


def keyframe_times(container: Any, stream: Any, start: float) -> list[float]:
    """Presentation times of all I-frames, in order.

    Reads packets to the end and decodes none. Frames that an edit list hides are left out.
    """
    return sorted({_time(packet, start) for packet in _keyframe_packets(container, stream)})


def decoded_keyframes(
    container: Any, stream: Any, start: float, times: Collection[float] | None = None
) -> Iterator[tuple[float, Any]]:
    """(time, frame) of the I-frames at ``times``, or of all from here on. Nothing else is decoded."""
    context = stream.codec_context
    context.skip_frame = "NONKEY"
    last = max(times, default=0.0) if times is not None else math.inf
    for packet in _keyframe_packets(container, stream):
        time = _time(packet, start)
        if time > last:
            break
        if times is None or time in times:
            for frame in _alone(packet, context):
                yield time, frame


def _alone(packet: Any, context: Any) -> Iterator[Any]:
    """The frame of one packet, out of the decoder at once: it waits for no other."""
    with suppress(av.error.FFmpegError):
        yield from (frame for frame in (*packet.decode(), *context.decode(None)) if not frame.is_corrupt)
    context.flush_buffers()


def _time(packet: Any, start: float) -> float:
    return max(0.0, round(float(packet.pts * packet.time_base) - start, 6))


def _keyframe_packets(container: Any, stream: Any) -> Iterator[Any]:
    stream.discard = Discard.nonkey
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        if packet.is_keyframe and not packet.is_discard and packet.pts is not None and packet.size:
            yield packet
