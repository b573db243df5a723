"""Choosing times: in order, in bounds, never too many, and clear words for what cannot be."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.decoding.sampling import (
    MAX_FRAMES,
    MAX_SIDE,
    Wanted,
    check_sampling,
    filled,
    stretch,
    thinned,
    timed,
    uniform,
)
from encoders.errors import EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling

SECONDS = st.floats(0.05, 300)


@given(start=st.floats(0, 100), length=SECONDS, count=st.integers(1, MAX_FRAMES))
def test_uniform_is_the_middles_of_equal_stretches(start: float, length: float, count: int) -> None:
    times = uniform(start, start + length, count)
    assert len(times) == count
    assert times == sorted(times)
    assert times[0] - start == pytest.approx(length / count / 2)
    assert start + length - times[-1] == pytest.approx(length / count / 2)


@given(seconds=SECONDS, rate=st.floats(0.01, 60), most=st.integers(1, MAX_FRAMES))
def test_fps_begins_at_the_start_and_is_thinned_evenly(seconds: float, rate: float, most: int) -> None:
    wanted = timed(FrameSampling("fps", max_frames=most, frames_per_second=rate), seconds)
    assert 1 <= len(wanted) <= most
    times = [one.time_seconds for one in wanted]
    assert times == sorted(times)
    assert all(0 <= time < seconds for time in times)
    assert {one.reason for one in wanted} == {"fps"}
    if math.ceil(seconds * rate) <= most:
        assert times[0] == 0
        assert all(b - a == pytest.approx(1 / rate) for a, b in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, [1.25, 3.75, 6.25, 8.75]), (2, 6, [2.5, 3.5, 4.5, 5.5]), (8, 99, [8.25, 8.75, 9.25, 9.75])],
)
def test_start_and_end_bound_the_part(start: float, end: float | None, expected: list[float]) -> None:
    sampling = FrameSampling(max_frames=4, start_seconds=start, end_seconds=end)
    assert [one.time_seconds for one in timed(sampling, 10.0)] == expected


def test_a_start_past_the_end_says_how_long_the_video_is() -> None:
    with pytest.raises(UnsupportedMedia, match=r"start_seconds is 10.*only 10\.00 seconds"):
        stretch(FrameSampling(start_seconds=10), 10.0)
    assert stretch(FrameSampling(), 0.0) == (0.0, 0.0)  # a video of one frame may have no length


@pytest.mark.parametrize(
    ("sampling", "error", "words"),
    [
        (FrameSampling("psychic"), UnsupportedMedia, "'psychic' is not known; use one of uniform, fps,"),
        (FrameSampling(max_frames=0), MediaTooLarge, "max_frames is 0; it must be from 1 to 256"),
        (FrameSampling(max_frames=MAX_FRAMES + 1), MediaTooLarge, "max_frames is 257"),
        (FrameSampling(max_side=0), MediaTooLarge, "max_side is 0"),
        (FrameSampling(max_side=MAX_SIDE + 1), MediaTooLarge, "max_side"),
        (
            FrameSampling("fps", frames_per_second=0),
            UnsupportedMedia,
            "frames_per_second is 0; it must be more",
        ),
        (FrameSampling("fps", frames_per_second=-1), UnsupportedMedia, "frames_per_second is -1"),
        (FrameSampling("fps", frames_per_second=60.5), UnsupportedMedia, "at most 60"),
        (FrameSampling("fps", frames_per_second=math.nan), UnsupportedMedia, "frames_per_second"),
        (FrameSampling(start_seconds=-1), UnsupportedMedia, "start_seconds is -1; it must be 0 or more"),
        (FrameSampling(start_seconds=math.inf), UnsupportedMedia, "start_seconds"),
        (
            FrameSampling(start_seconds=5, end_seconds=5),
            UnsupportedMedia,
            "the end must come after the start",
        ),
        (
            FrameSampling(start_seconds=5, end_seconds=4),
            UnsupportedMedia,
            "end_seconds is 4 and start_seconds 5",
        ),
        (FrameSampling(end_seconds=math.nan), UnsupportedMedia, "end_seconds"),
    ],
)
def test_what_cannot_be_is_told_clearly(
    sampling: FrameSampling, error: type[EncoderError], words: str
) -> None:
    with pytest.raises(error, match=words):
        check_sampling(sampling)


def test_the_rate_matters_to_fps_alone() -> None:
    check_sampling(FrameSampling("uniform", frames_per_second=0))


@given(count=st.integers(0, 500), most=st.integers(1, 256))
def test_thinning_is_even_and_keeps_order(count: int, most: int) -> None:
    kept = thinned(range(count), most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    steps = {b - a for a, b in itertools.pairwise(kept)}
    assert not steps or max(steps) - min(steps) <= 1


@given(times=st.sets(st.floats(0, 10), max_size=4), count=st.integers(5, 8))
def test_filling_keeps_what_was_found_and_halves_the_widest_gaps(times: set[float], count: int) -> None:
    found = [Wanted(time, "keyframe") for time in sorted(times)]
    wanted = filled(found, 0.0, 10.0, count)
    assert len(wanted) == count
    assert wanted == sorted(wanted, key=lambda one: one.time_seconds)
    assert [one for one in wanted if one.reason == "keyframe"] == found
    assert {one.reason for one in wanted} - {"keyframe"} == {"fill"}


def test_filling_nothing_is_uniform() -> None:
    assert [one.time_seconds for one in filled([], 0.0, 10.0, 5)] == uniform(0.0, 10.0, 5)
    assert [one.time_seconds for one in filled([Wanted(0.0, "keyframe")], 0.0, 8.0, 4)] == [0, 2, 4, 6]
