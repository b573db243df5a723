"""How long each frame of an animated picture is shown, from the file's structure; no pixel is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from encoders.decoding.sniff import Sniffed
from encoders.decoding.stream import open_container
from encoders.errors import CorruptMedia

__all__ = ["MAX_ANIMATION_FRAMES", "frame_seconds"]

MAX_ANIMATION_FRAMES = 10_000

# Browsers show frames of at most a hundredth of a second for a tenth: such numbers mean "I did not care".
_LEAST_SECONDS = 0.01
_USUAL_SECONDS = 0.1

_DEMUXED = {"GIF": "gif", "AVIF": "mp4"}  # FFmpeg reads these structures


def frame_seconds(file: BinaryIO, sniffed: Sniffed) -> list[float]:
    """Seconds for each frame of one loop; fewer than two for still pictures and other formats.

    Damage ends the list early. Not more than ``MAX_ANIMATION_FRAMES`` are read.
    """
    file.seek(0)
    if sniffed.format == "PNG":
        found = _apng(file)
    elif sniffed.format == "WEBP":
        found = _webp(file)
    elif sniffed.format in _DEMUXED:
        found = _demuxed(file, Sniffed("stream", _DEMUXED[sniffed.format], sniffed.subtype))
    else:
        return []
    seconds: list[float] = []
    for one in found:
        seconds.append(one if one > _LEAST_SECONDS + 1e-6 else _USUAL_SECONDS)
        if len(seconds) == MAX_ANIMATION_FRAMES:
            break
    return seconds


def _apng(file: BinaryIO) -> Iterator[float]:
    """A frame's control chunk holds its delay as a fraction; a denominator of 0 stands for 100."""
    file.seek(8)
    animated = False
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == b"acTL":
            animated = True
        elif name == b"IEND" or (name == b"IDAT" and not animated):
            return
        elif name == b"fcTL" and animated and size == 26:
            content = file.read(26)
            if len(content) < 26:
                return
            numerator, denominator = struct.unpack_from(">HH", content, 20)
            yield numerator / (denominator or 100)
            size = 0
        file.seek(size + 4, 1)


def _webp(file: BinaryIO) -> Iterator[float]:
    """A frame's chunk holds its milliseconds behind four numbers of its place and size, 24 bits each."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        padded = size + size % 2
        if name in (b"VP8 ", b"VP8L"):
            return
        if name == b"ANMF" and size >= 16:
            content = file.read(16)
            if len(content) < 16:
                return
            yield int.from_bytes(content[12:15], "little") / 1000
            padded -= 16
        file.seek(padded, 1)


def _demuxed(file: BinaryIO, sniffed: Sniffed) -> Iterator[float]:
    try:
        with open_container(file, sniffed) as container:
            if container.streams.video:
                # In AVIF the still picture for other readers is a stream too; the animation has more frames.
                longest = max(container.streams.video, key=lambda stream: stream.frames)
                for packet in container.demux(longest):
                    if packet.size:
                        yield float((packet.duration or 0) * packet.time_base)
    except CorruptMedia:
        return
