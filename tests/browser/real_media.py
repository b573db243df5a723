"""Media that a browser shows and plays, and the fake encoders read: real files with a note at their end."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from fake_services import FakePerception
from PIL import Image, ImageDraw

from encoders.errors import UnsupportedMedia
from encoders.types import MediaInfo, MediaKind, TextLine
from storage.types import MediaRef

__all__ = ["RealPerception", "film", "picture", "speech", "written"]

_NOTE = b"what the fake encoders know: "
_SIZE = (640, 480)
_COLOURS = ("#c2410c", "#0369a1", "#15803d", "#7e22ce", "#a16207", "#be123c")
_FRAMES_PER_SECOND = 5


def picture(labels: Mapping[str, float], lines: tuple[str, ...] = (), size: tuple[int, int] = _SIZE) -> bytes:
    """A PNG in the colour of its first label, with ``lines`` written in it."""
    image = Image.new("RGB", size, _colour(next(iter(labels))))
    boxes = []
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        top = 60 + 80 * index
        draw.rectangle((50, top, 50 + 22 * len(line), top + 50), fill="white")
        draw.text((60, top + 5), line, fill="black", font_size=32)
        boxes.append([(50, top), (50 + 22 * len(line), top), (50 + 22 * len(line), top + 50), (50, top + 50)])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _noted(buffer.getvalue(), {"labels": dict(labels), "text": lines, "boxes": boxes, "size": size})


def speech(*passages: tuple[float, float, str], seconds: float = 6.0) -> bytes:
    """A WAV with a tone where there is said to be speech."""
    times = np.arange(int(8000 * seconds)) / 8000
    loud = np.zeros(times.shape)
    for start, end, _ in passages:
        loud[(times >= start) & (times < end)] = 0.2
    samples = (loud * np.sin(2 * np.pi * 220 * times) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return _noted(buffer.getvalue(), {"speech": passages, "seconds": seconds})


def film(frames: list[Mapping[str, float]], *passages: tuple[float, float, str]) -> bytes:
    """An MP4 with one second of each frame's colour; what is said in it is in its note only."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=_FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for labels in frames:
            shown = av.VideoFrame.from_image(Image.new("RGB", (320, 240), _colour(next(iter(labels)))))
            for _ in range(_FRAMES_PER_SECOND):
                container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return _noted(buffer.getvalue(), {"frames": frames, "speech": passages, "sound": bool(passages)})


class RealPerception(FakePerception):
    """The fake encoders over such files. What has no note is a recording of the browser's own: somebody says
    "hello there" in it.
    """

    async def _facts(self, method: str, media: MediaRef) -> tuple[MediaKind, dict[str, Any]]:
        self.calls[method] = self.calls.get(method, 0) + 1
        if self.wait is not None:
            await self.wait.wait()
        if self.failure is not None:
            raise self.failure
        data = self._media.read(media)
        kind = MediaKind(media.content_type.partition("/")[0])
        _, found, note = data.rpartition(_NOTE)
        if not found:
            return MediaKind.AUDIO, {"speech": [(0.0, 1.0, "hello there")], "seconds": 1.0}
        return kind, json.loads(note)

    async def probe(self, media: MediaRef) -> MediaInfo:
        info = await super().probe(media)
        return MediaInfo(
            info.kind,
            media.content_type,
            info.width,
            info.height,
            info.duration_seconds,
            info.frames_per_second,
            info.has_audio,
        )

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        _, facts = await self._facts("read_text", media)
        return tuple(
            TextLine(text, 0.9, tuple(map(tuple, box)))
            for text, box in zip(facts["text"], facts["boxes"], strict=True)
        )

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        kind, facts = await self._facts("thumbnail", media)
        if kind is MediaKind.AUDIO:
            raise UnsupportedMedia("This medium has no picture to show.")
        if kind is MediaKind.IMAGE:
            image = Image.open(io.BytesIO(self._media.read(media)))
        else:
            image = Image.new("RGB", (320, 240), _colour(next(iter(facts["frames"][int(at_seconds or 0)]))))
        image.thumbnail((max_side, max_side))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG")
        return buffer.getvalue()


def written(folder: Path, name: str, content: bytes) -> Path:
    """The file ``name`` with ``content``, for a file chooser."""
    path = folder / name
    path.write_bytes(content)
    return path


def _colour(word: str) -> str:
    return _COLOURS[sum(word.encode()) % len(_COLOURS)]


def _noted(content: bytes, facts: Mapping[str, Any]) -> bytes:
    """Behind the end of a file decoders look no further; an MP4 gets a box that they skip."""
    note = _NOTE + json.dumps(facts).encode()
    if content[4:8] == b"ftyp":
        return content + (8 + len(note)).to_bytes(4, "big") + b"free" + note
    return content + note
