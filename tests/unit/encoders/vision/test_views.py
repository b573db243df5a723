"""Which parts of a picture are looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.types import Quality
from encoders.vision.views import view_boxes, views


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_boxes_lie_in_the_picture(width: int, height: int) -> None:
    boxes = view_boxes(width, height, Quality.BEST)
    assert len(boxes) == 4
    assert boxes[0] == (0, 0, width, height) == view_boxes(width, height, Quality.FAST)[0]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_ends_are_squares_and_the_middle_is_the_middle() -> None:
    _, first, last, middle = view_boxes(640, 480, Quality.BEST)
    assert first == (0, 0, 480, 480)
    assert last == (160, 0, 640, 480)
    assert middle == (128, 96, 512, 384)
    assert view_boxes(480, 640, Quality.BEST)[2] == (0, 160, 480, 640)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (20, 20), (300, 200)])
def test_views_are_squares_of_the_boxes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    seen = views(image, Quality.BEST, 20)
    assert seen.shape == (4, 20, 20, 3)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen[:1], views(image, Quality.FAST, 20))


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    for view in views(image, Quality.BEST, 20)[:3]:
        np.testing.assert_array_equal(view, image)
