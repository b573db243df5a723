"""The sample video: photos one after the other, with a spoken sentence about each, as MP4."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

__all__ = ["FRAMES_PER_SECOND", "VIDEO_SIZE", "assemble_video"]

VIDEO_SIZE = (640, 360)
"""Width and height in pixels."""

FRAMES_PER_SECOND = 10

_AUDIO_RATE = 48_000
_AUDIO_FRAME_SAMPLES = 1024  # what AAC encodes at once


def assemble_video(photos: Sequence[bytes], seconds_each: float, sound: bytes) -> bytes:
    """An MP4 that shows each photo for ``seconds_each`` seconds while ``sound`` plays.

    ``photos`` and ``sound`` are files' bytes in any format that Pillow and PyAV read. H.264 where the
    installed PyAV encodes it, else MPEG-4 part 2; sound is AAC. The same input gives the same bytes with the
    same PyAV, so that the platform's caches know the video again.
    """
    import av

    file = BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        pictures = container.add_stream(_video_codec(), rate=FRAMES_PER_SECOND)
        pictures.width, pictures.height = VIDEO_SIZE
        pictures.pix_fmt = "yuv420p"
        pictures.options = {"threads": "1", "flags": "+bitexact"}
        if pictures.codec_context.name == "libx264":
            pictures.options = {**pictures.options, "crf": "26", "preset": "medium", "tune": "stillimage"}
        speech = container.add_stream("aac", rate=_AUDIO_RATE, layout="mono")
        speech.bit_rate = 64_000
        speech.options = {"flags": "+bitexact"}
        packets = [*_picture_packets(pictures, photos, seconds_each), *_sound_packets(speech, sound)]
        # Interleaved by time, as players and the sandbox's decoder like them.
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return file.getvalue()


def _video_codec() -> str:
    import av

    try:
        av.codec.Codec("libx264", "w")
    except av.codec.codec.UnknownCodecError:
        return "mpeg4"
    return "libx264"


def _picture_packets(stream: Any, photos: Sequence[bytes], seconds_each: float) -> list[Any]:
    import av
    from PIL import Image, ImageOps

    packets = []
    count = 0
    for photo in photos:
        with Image.open(BytesIO(photo)) as opened:
            frame = av.VideoFrame.from_image(ImageOps.fit(opened.convert("RGB"), VIDEO_SIZE))
        for _ in range(round(seconds_each * FRAMES_PER_SECOND)):
            frame.pts, frame.time_base = count, Fraction(1, FRAMES_PER_SECOND)
            packets += stream.encode(frame)
            count += 1
    return packets + list(stream.encode(None))


def _sound_packets(stream: Any, sound: bytes) -> list[Any]:
    import av

    resampler = av.AudioResampler("fltp", "mono", _AUDIO_RATE, frame_size=_AUDIO_FRAME_SAMPLES)
    packets = []
    with av.open(BytesIO(sound)) as source:
        for decoded in (*source.decode(audio=0), None):
            for frame in resampler.resample(decoded):
                packets += stream.encode(frame)
    return packets + list(stream.encode(None))
