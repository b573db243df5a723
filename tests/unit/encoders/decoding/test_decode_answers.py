"""Nothing a decoder process says is believed: every number of its answers is held against what can be."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.config import DecodeLimits
from encoders.decoding.answers import FramesAnswer, PictureAnswer, ProbeAnswer, SoundAnswer
from encoders.errors import CorruptMedia
from encoders.types import FrameSampling, MediaInfo, MediaKind, VideoSummary

LIMITS = DecodeLimits()
INFO = {"kind": "video", "content_type": "video/mp4", "width": 4, "height": 2, "duration_seconds": 1.5}
FRAME = {"more": True, "time": 0.5, "reason": "uniform", "shape": [2, 4, 3]}
PICTURE = {"shape": [2, 4, 3], "width": 4, "height": 2}

ODD_NUMBERS = ["x", -1, float("nan"), float("inf"), 10**400, [], {}]


def test_a_plain_answer_is_taken() -> None:
    info = ProbeAnswer().finish({"info": INFO | {"has_audio": True}}, bytearray())
    assert info == MediaInfo(MediaKind.VIDEO, "video/mp4", 4, 2, 1.5, None, has_audio=True)
    image = PictureAnswer(LIMITS, 4).finish(PICTURE, bytearray(24))
    assert (image.pixels.shape, image.width, image.height) == ((2, 4, 3), 4, 2)


@pytest.mark.parametrize(
    "lie",
    [
        {"kind": "poem"},
        {"content_type": "text/html"},
        {"content_type": "image/svg+xml"},
        {"content_type": "video/mp4\r\nset-cookie: a=b"},
        {"content_type": None},
        {"width": 0},
        *({name: value} for name in ("width", "height") for value in ODD_NUMBERS),
        *({name: value} for name in ("duration_seconds", "frames_per_second") for value in ODD_NUMBERS),
    ],
)
def test_facts_that_cannot_be(lie: dict[str, Any]) -> None:
    with pytest.raises(CorruptMedia):
        ProbeAnswer().finish({"info": INFO | lie}, bytearray())


@pytest.mark.parametrize("header", [{}, {"info": None}, {"info": []}, {"info": {}}, {"info": "x"}])
def test_facts_that_are_none(header: dict[str, Any]) -> None:
    with pytest.raises(CorruptMedia):
        ProbeAnswer().finish(header, bytearray())


@pytest.mark.parametrize(
    "shape", [[2, 4, 4], [-2, -4, 3], [100, 100, 3], [2, 4], ["a", 4, 3], [8, 1, 3], None]
)
def test_shapes_that_do_not_fit(shape: object) -> None:
    """Not their bytes, or not the sides that were asked for."""
    with pytest.raises(CorruptMedia):
        PictureAnswer(LIMITS, 4).finish(PICTURE | {"shape": shape}, bytearray(24))


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("value", [0, *ODD_NUMBERS], ids=lambda value: repr(value)[:12])
def test_sizes_that_cannot_be(side: str, value: object) -> None:
    with pytest.raises(CorruptMedia):
        PictureAnswer(LIMITS, 4).finish(PICTURE | {side: value}, bytearray(24))


async def test_frames_and_summaries_that_cannot_be() -> None:
    answer = FramesAnswer(LIMITS, FrameSampling(max_side=4), 1.0, asyncio.get_running_loop())
    for lie in (*({"time": value} for value in ODD_NUMBERS), {"shape": [8, 1, 3]}, {"shape": [0, 4, 3]}):
        with pytest.raises(CorruptMedia):
            answer.take(FRAME | lie, bytearray(24))
    for value in ODD_NUMBERS:
        with pytest.raises(CorruptMedia):
            answer.finish({"seconds": value, "near_duplicates": 0}, bytearray())
        for name in ("repeats", "scene_changes"):
            with pytest.raises(CorruptMedia):
                answer.finish({"seconds": 1.0, "near_duplicates": 0, name: [0.5, value]}, bytearray())
    for lie in ("ab", 7, None, [0.0] * 20_000):
        with pytest.raises(CorruptMedia):
            answer.finish({"seconds": 1.0, "near_duplicates": 0, "repeats": lie}, bytearray())
    told = {"seconds": 9.0, "near_duplicates": 2, "repeats": [1.5, 1.0], "scene_changes": [4.0]}
    assert answer.finish(told, bytearray()) == VideoSummary(9.0, 2, (1.0, 1.5), (4.0,))
    assert answer.take(FRAME, bytearray(24))


@given(parts=st.lists(st.integers(0, 50), max_size=8))
def test_sound_is_its_parts_one_after_the_other(parts: list[int]) -> None:
    samples = np.arange(sum(parts), dtype="<i2") * 100 - 9000
    answer, at = SoundAnswer(LIMITS), 0
    for count in parts:
        assert answer.take({}, bytearray(samples[at : at + count].tobytes()))
        at += count
    sound = answer.finish({}, bytearray())
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound, samples.astype(np.float32) / 32768)


@pytest.mark.parametrize("part", [b"", b"ab"])
def test_sound_in_countless_parts_takes_no_more_memory_than_its_samples(part: bytes) -> None:
    answer = SoundAnswer(LIMITS)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            answer.take({}, bytearray(part))
        assert tracemalloc.get_traced_memory()[0] < 80_000
    finally:
        tracemalloc.stop()
