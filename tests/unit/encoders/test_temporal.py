"""The sinusoidal encoding of times, against the formula written out and its known properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.temporal import temporal_encoding

WIDTHS = st.integers(1, 192).map(lambda half: 2 * half)


@given(times=st.lists(st.floats(0, 300), max_size=8), width=WIDTHS)
def test_the_formula(times: list[float], width: int) -> None:
    encoded = temporal_encoding(times, width)
    assert encoded.dtype == np.float32
    assert encoded.shape == (len(times), width)
    for row, time in zip(encoded, times, strict=True):
        for column in range(width):
            angle = time / 10000 ** (2 * (column // 2) / width)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert row[column] == pytest.approx(expected, abs=1e-6)


def test_rows_have_one_norm_and_near_times_are_near() -> None:
    encoded = temporal_encoding(np.arange(0, 60, 0.5), 256)
    assert np.linalg.norm(encoded, axis=1) == pytest.approx(math.sqrt(128), rel=1e-5)
    nearness = encoded @ encoded[0]
    assert nearness[0] > nearness[1] > nearness[4] > nearness[20]


@given(time=st.floats(0, 200), later=st.floats(0, 50), shift=st.floats(0, 50))
def test_a_distance_in_time_looks_alike_wherever_it_lies(time: float, later: float, shift: float) -> None:
    one, two = temporal_encoding([time, time + later], 64).astype(float)
    moved_one, moved_two = temporal_encoding([time + shift, time + shift + later], 64).astype(float)
    assert one @ two == pytest.approx(moved_one @ moved_two, abs=1e-3)


def test_seconds_become_frame_numbers() -> None:
    np.testing.assert_allclose(
        temporal_encoding([0.0, 0.04, 0.08], 32, positions_per_second=25),
        temporal_encoding([0, 1, 2], 32),
        atol=1e-6,
    )


@pytest.mark.parametrize(("times", "width"), [([0.0], 0), ([0.0], -2), ([0.0], 7), ([math.nan], 8)])
def test_what_has_no_encoding(times: list[float], width: int) -> None:
    with pytest.raises(ValueError, match=r"width is|times must"):
        temporal_encoding(times, width)


def test_no_times() -> None:
    assert temporal_encoding([], 16).shape == (0, 16)
