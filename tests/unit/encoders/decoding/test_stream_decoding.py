"""Video: right times, right frames, bounded, and something from what is partly broken."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.config import DecodeLimits
from encoders.decoding import probe as probing
from encoders.decoding.sniff import sniff
from encoders.decoding.video import SampledFrame, sample_frames
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling, MediaInfo, MediaKind, VideoSummary

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]


def probe(data: bytes, limits: DecodeLimits = LIMITS) -> MediaInfo:
    return probing.probe(io.BytesIO(data), limits)


def frames(data: bytes, count: int = 16, limits: DecodeLimits = LIMITS) -> tuple[float, list[SampledFrame]]:
    """Length and frames, near duplicates too: the greys of ``video_bytes`` lie close together."""
    sampling = FrameSampling(max_frames=count, drop_near_duplicates=False)
    *sampled, summary = sample_frames(io.BytesIO(data), sniff(data), limits, sampling)
    assert isinstance(summary, VideoSummary)
    assert all(isinstance(one, SampledFrame) for one in sampled)
    return summary.duration_seconds, sampled


def greys(sampled: Sequence[SampledFrame]) -> list[int]:
    """Which frame of ``video_bytes`` each sample shows."""
    return [round((float(one.pixels.mean()) - 10) / 10) for one in sampled]


@pytest.mark.parametrize(("container", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4")])
def test_uniform_takes_the_frame_on_screen_at_each_middle(
    container: str, codec: str, video_bytes: Encode
) -> None:
    times = [index / 10 for index in range(20)]
    seconds, sampled = frames(video_bytes(times, container=container, codec=codec), 4)
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert [one.time_seconds for one in sampled] == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.11)
    assert greys(sampled) == [round(one.time_seconds * 10) for one in sampled]
    assert {one.reason for one in sampled} == {"uniform"}


def test_variable_frame_rate(video_bytes: Encode) -> None:
    """One frame stays for two seconds: it is what the middles in those seconds show."""
    times = [0, 0.1, 0.2, 2.2, 2.3, 2.4, 2.5]
    _, sampled = frames(video_bytes(times), 5)
    assert [one.time_seconds for one in sampled] == pytest.approx([0.2, 2.2], abs=0.001)
    assert greys(sampled) == [2, 3]


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_pictures_that_set_in_after_the_sound(container: str, video_bytes: Encode) -> None:
    """Length and times count from the beginning of the sound."""
    times = [3 + index / 10 for index in range(10)]
    data = video_bytes(times, container=container, sound_seconds=4.0)
    assert probe(data).duration_seconds == pytest.approx(4.0, abs=0.15)
    seconds, sampled = frames(data, 8)
    assert seconds == pytest.approx(4.0, abs=0.15)
    assert [one.time_seconds for one in sampled] == pytest.approx([3.0, 3.2, 3.7], abs=0.11)
    assert greys(sampled) == [round(one.time_seconds * 10) - 30 for one in sampled]


def test_short_videos_give_fewer_distinct_frames(video_bytes: Encode) -> None:
    _, sampled = frames(video_bytes([0, 0.1, 0.2]), 16)
    assert greys(sampled) == [0, 1, 2]
    _, one = frames(video_bytes([0]), 16)
    assert len(one) == 1


def test_long_distance_between_keyframes(video_bytes: Encode) -> None:
    """A seek that goes back to the only keyframe must not repeat or lose frames."""
    times = [index / 2 for index in range(20)]
    for container in ("mp4", "matroska"):
        _, sampled = frames(video_bytes(times, container=container, keyframe_every=100), 5)
        assert greys(sampled) == [round(one.time_seconds * 2) for one in sampled]
        assert len(sampled) == 5


def test_recording_without_duration(video_bytes: Encode) -> None:
    times = [index / 10 for index in range(20)]
    data = video_bytes(times, container="matroska", seekable=False)
    assert probe(data).duration_seconds is None
    seconds, sampled = frames(data, 4)
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert greys(sampled) == [round(one.time_seconds * 10) for one in sampled]
    with pytest.raises(MediaTooLarge, match="at most 1 seconds"):
        frames(data, 4, replace(LIMITS, max_video_seconds=1.0))


@pytest.mark.parametrize("size", [(64, 48), (66, 34), (1600, 900)])
def test_longer_side_is_at_most_768(size: tuple[int, int], video_bytes: Encode) -> None:
    _, sampled = frames(video_bytes([0, 0.1], size=size), 1)
    height, width, _ = sampled[0].pixels.shape
    assert max(height, width) == min(max(size), 768)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_length_limit(video_bytes: Encode) -> None:
    data = video_bytes([0, 1, 2, 3])
    seconds = probe(data).duration_seconds
    assert seconds is not None
    frames(data, 2, replace(LIMITS, max_video_seconds=seconds))
    with pytest.raises(MediaTooLarge, match="video is"):
        frames(data, 2, replace(LIMITS, max_video_seconds=seconds - 0.001))


def test_frame_size_limit(video_bytes: Encode) -> None:
    with pytest.raises(MediaTooLarge, match="64x48"):
        probe(video_bytes([0]), replace(LIMITS, max_pixels=64 * 48 - 1))


def test_a_cut_off_recording_gives_the_frames_it_has(video_bytes: Encode) -> None:
    data = video_bytes([index / 10 for index in range(20)], container="matroska")
    _, sampled = frames(data[: int(len(data) * 0.6)], 8)
    assert 1 <= len(sampled) < 8
    assert greys(sampled) == [round(one.time_seconds * 10) for one in sampled]


def test_no_frame_at_all(video_bytes: Encode) -> None:
    data = video_bytes([0, 0.1], container="matroska")
    with pytest.raises(CorruptMedia):
        frames(data[:400])


def test_unsupported_codec(video_bytes: Encode) -> None:
    with pytest.raises(UnsupportedMedia, match=r"codec \(flv\)"):
        probe(video_bytes([0, 0.1], container="avi", codec="flv"))


def test_cover_art_does_not_make_a_video(image_bytes: Encode) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as out:
        sound = out.add_stream("mp3", rate=44100, layout="mono")
        cover = out.add_stream("mjpeg")
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        out.mux(cover.encode(None))
        silence = np.zeros((1, 44100), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
        frame.sample_rate = 44100
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    assert probe(buffer.getvalue()).kind is MediaKind.AUDIO


@pytest.mark.parametrize("name", ["video_0", "video_90", "video_180", "video_270"])
def test_rotation_metadata_is_applied(name: str, shared_data: Path) -> None:
    data = (shared_data / f"video/decord/{name}.mov").read_bytes()
    info = probe(data)
    _, sampled = frames(data, 2)
    assert sampled[0].pixels.shape[:2] == (info.height, info.width)
    assert (info.width, info.height) == ((320, 568) if name in ("video_90", "video_270") else (568, 320))


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1), value=st.integers(0, 255), keep=st.floats(0.05, 1))
def test_damaged_videos_give_frames_or_a_typed_error(where: float, value: int, keep: float) -> None:
    data = bytearray(_SMALL_VIDEO)
    data[int(where * (len(data) - 1))] = value
    cut = bytes(data[: int(keep * len(data))])
    try:
        _, sampled = frames(cut, 4)
        assert sampled
    except EncoderError:
        pass


def _small_video() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(10):
            grey = np.full((32, 32, 3), 20 * index, dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()


_SMALL_VIDEO = _small_video()
