"""Animated pictures as video: right frames at right times, composed, bounded."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.animation import animated_frames, is_animated
from encoders.decoding.frame_times import frame_seconds
from encoders.decoding.probe import probe
from encoders.decoding.sniff import sniff
from encoders.decoding.video import SampledFrame
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge
from encoders.types import FrameSampling, SamplingMethod, VideoSummary

LIMITS = DecodeLimits()
KINDS = ["GIF", "PNG", "WEBP", "AVIF"]


def animation(kind: str, greys: list[int], milliseconds: list[int] | int = 100, side: int = 32) -> bytes:
    """Frame ``i`` is flat grey of value ``greys[i]``."""
    pictures = [Image.new("RGB", (side, side), (grey, grey, grey)) for grey in greys]
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(
        buffer, kind, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, **options
    )
    return buffer.getvalue()


def frames(
    data: bytes, sampling: FrameSampling | None = None, limits: DecodeLimits = LIMITS
) -> tuple[list[SampledFrame], VideoSummary]:
    *found, summary = animated_frames(io.BytesIO(data), sniff(data), limits, sampling or FrameSampling())
    assert isinstance(summary, VideoSummary)
    return found, summary


def greys(found: list[SampledFrame]) -> list[int]:
    return [round(float(one.pixels.mean()) / 10) * 10 for one in found]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_at_the_middles(kind: str) -> None:
    data = animation(kind, list(range(0, 200, 20)))
    found, summary = frames(data, FrameSampling(max_frames=5))
    assert [one.time_seconds for one in found] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.001)
    assert greys(found) == [20, 60, 100, 140, 180]
    assert {one.reason for one in found} == {"uniform"}
    assert summary == VideoSummary(pytest.approx(1.0, abs=0.001), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_tells(kind: str) -> None:
    info = probe(io.BytesIO(animation(kind, [0, 50, 100], [100, 200, 300])), LIMITS)
    assert info.animated
    assert info.duration_seconds == pytest.approx(0.6, abs=0.001)
    assert info.frames_per_second == pytest.approx(5, abs=0.01)
    still = io.BytesIO()
    Image.new("RGB", (8, 8)).save(still, kind)
    plain = probe(still, LIMITS)
    assert (plain.animated, plain.duration_seconds) == (False, None)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_shown_for_different_times(kind: str) -> None:
    data = animation(kind, [0, 60, 120, 180], [100, 1000, 100, 200])
    found, _ = frames(data, FrameSampling(SamplingMethod.FPS, max_frames=64, frames_per_second=10))
    assert greys(found) == [0, 60, 120, 180]
    assert [one.time_seconds for one in found] == pytest.approx([0, 0.1, 1.1, 1.2], abs=0.001)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_no_time_means_a_tenth_of_a_second_as_in_browsers(kind: str) -> None:
    data = animation(kind, [0, 60, 120, 180], [0, 10, 20, 50])
    assert frame_seconds(io.BytesIO(data), sniff(data)) == pytest.approx([0.1, 0.1, 0.02, 0.05])


def test_every_method() -> None:
    data = animation("PNG", [0, 3] * 8 + [240, 237] * 8, 100)
    for method in SamplingMethod:
        found, summary = frames(data, FrameSampling(method, max_frames=6))
        assert found[0].pixels.mean() < 10
        assert found[-1].pixels.mean() > 230
        assert len(found) + summary.near_duplicates <= 6
    scenes, _ = frames(data, FrameSampling(SamplingMethod.SCENE, max_frames=2))
    assert [one.reason for one in scenes] == ["scene", "scene"]
    assert [one.time_seconds for one in scenes] == pytest.approx([0.8, 2.4], abs=0.11)


def test_a_part_only() -> None:
    data = animation("WEBP", list(range(0, 200, 20)))
    found, _ = frames(data, FrameSampling(max_frames=4, start_seconds=0.4, end_seconds=0.8))
    assert greys(found) == [80, 100, 120, 140]


def test_near_duplicates() -> None:
    data = animation("PNG", [100, 101, 102, 200])
    found, summary = frames(data)
    assert (len(found), summary.near_duplicates) == (2, 2)
    assert len(summary.repeat_times_seconds) == 2
    assert found[0].time_seconds < min(summary.repeat_times_seconds)
    assert max(summary.repeat_times_seconds) < found[1].time_seconds
    assert len(frames(data, FrameSampling(drop_near_duplicates=False))[0]) == 4


def test_disposal_is_seen_to() -> None:
    """A square runs over a white ground; what it leaves is restored."""
    pictures = []
    for index in range(4):
        picture = Image.new("RGB", (40, 10), "white")
        picture.paste((0, 0, 0), (10 * index, 0, 10 * index + 10, 10))
        pictures.append(picture)
    for kind, options in (("GIF", {"disposal": 2}), ("PNG", {"disposal": 1}), ("WEBP", {"lossless": True})):
        buffer = io.BytesIO()
        pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:], duration=100, **options)
        found, _ = frames(buffer.getvalue(), FrameSampling(drop_near_duplicates=False))
        for one, expected in zip(found, pictures, strict=True):
            assert np.abs(one.pixels.astype(int) - np.asarray(expected)).max() <= 1, kind


def test_shrinking_one_frame_does_not_touch_the_next() -> None:
    data = animation("GIF", [0, 80, 160], side=100)
    found, _ = frames(data, FrameSampling(max_side=10))
    assert [one.pixels.shape for one in found] == [(10, 10, 3)] * 3
    assert greys(found) == [0, 80, 160]


def test_length_and_size_limits() -> None:
    data = animation("GIF", [0, 100], 1000)
    with pytest.raises(MediaTooLarge, match=r"animation is 2\.0 seconds.*at most 1 seconds"):
        frames(data, limits=replace(LIMITS, max_video_seconds=1.0))
    with pytest.raises(MediaTooLarge, match="32x32"):
        frames(data, limits=replace(LIMITS, max_pixels=1023))
    assert probe(io.BytesIO(data), replace(LIMITS, max_video_seconds=1.0)).duration_seconds == pytest.approx(
        2.0
    )


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_cut_off_animations_give_what_they_have(kind: str) -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(6)]
    buffer = io.BytesIO()
    noise[0].save(buffer, kind, save_all=True, append_images=noise[1:], duration=100)
    cut = buffer.getvalue()[: int(len(buffer.getvalue()) * 0.6)]
    try:
        found, _ = frames(cut)
        assert 1 <= len(found) < 6
    except CorruptMedia:
        assert kind == "WEBP"  # its decoder wants the whole file


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), where=st.floats(0, 1), value=st.integers(0, 255), keep=st.floats(0.05, 1))
def test_damage_gives_frames_or_an_error(kind: str, where: float, value: int, keep: float) -> None:
    data = bytearray(_SMALL[kind])
    data[int(where * (len(data) - 1))] = value
    cut = bytes(data[: max(16, int(keep * len(data)))])
    try:
        sniffed = sniff(cut)
        if is_animated(io.BytesIO(cut), sniffed):
            assert list(animated_frames(io.BytesIO(cut), sniffed, LIMITS, FrameSampling(max_frames=4)))
    except (EncoderError, OSError, ValueError, SyntaxError):
        pass  # what is no error of ours is one in the decoder process


_SMALL = {kind: animation(kind, [0, 60, 120, 180], side=16) for kind in KINDS}
