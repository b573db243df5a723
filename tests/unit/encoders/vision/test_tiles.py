"""Tiles cover the picture, stay near squares and in reading order, and combine as promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.types import ImageTokens
from encoders.vision.tiles import TilePlan, combine_tokens, combine_vectors, tile_boxes

SIDE = 224


@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(0, 12))
def test_tiles_cover_the_picture_and_stay_inside(width: int, height: int, most: int) -> None:
    boxes = tile_boxes(width, height, TilePlan(most), SIDE)
    assert len(boxes) <= most
    assert len(boxes) != 1  # one tile would be the whole picture again
    assert list(boxes) == sorted(boxes, key=lambda box: (box[1], box[0]))
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    if boxes:
        assert _covered(sorted({(box[0], box[2]) for box in boxes}), width)
        assert _covered(sorted({(box[1], box[3]) for box in boxes}), height)


def _covered(spans: list[tuple[int, int]], length: int) -> bool:
    reached = 0
    for start, stop in spans:
        if start > reached:
            return False
        reached = max(reached, stop)
    return spans[0][0] == 0 and reached == length


@pytest.mark.parametrize(
    ("width", "height", "most", "grid"),
    [
        (1920, 1080, 6, (2, 1)),
        (1500, 1000, 6, (3, 2)),
        (1000, 1500, 6, (2, 3)),
        (1000, 1000, 6, (2, 2)),
        (1000, 1000, 9, (3, 3)),
        (4000, 500, 6, (6, 1)),
        (500, 100, 6, (3, 1)),  # no more columns than the picture has sides of pixels
        (224, 224, 6, (0, 0)),
        (300, 200, 0, (0, 0)),
    ],
)
def test_the_grid_follows_the_shape(width: int, height: int, most: int, grid: tuple[int, int]) -> None:
    boxes = tile_boxes(width, height, TilePlan(most), SIDE)
    assert (len({box[0] for box in boxes}), len({box[1] for box in boxes})) == grid


def test_tiles_are_squares_where_a_grid_fits() -> None:
    for left, top, right, bottom in tile_boxes(1920, 1080, TilePlan(), SIDE):
        assert right - left == bottom - top


def test_a_plan_may_ask_for_larger_tiles() -> None:
    assert tile_boxes(800, 600, TilePlan(side=1000), SIDE) == ()
    assert len(tile_boxes(800, 600, TilePlan(side=100), SIDE)) > 1


def test_a_combined_vector_is_half_the_whole_picture() -> None:
    whole, tile, other = np.eye(3, dtype=np.float32)
    combined = combine_vectors(np.stack([whole, tile, other]))
    assert combined.dtype == np.float32
    np.testing.assert_allclose(combined, np.array([2, 1, 1]) / np.sqrt(6), atol=1e-6)
    np.testing.assert_array_equal(combine_vectors(whole[None]), whole)


def test_tokens_combine_three_ways() -> None:
    random = np.random.default_rng(0)
    tokens = ImageTokens(random.standard_normal((3, 4, 8)).astype(np.float32), ())
    assert combine_tokens(tokens, "concat").shape == (12, 8)
    np.testing.assert_array_equal(combine_tokens(tokens, "concat")[4:8], tokens.tokens[1])
    np.testing.assert_allclose(combine_tokens(tokens, "mean"), tokens.tokens.mean(0), atol=1e-6)
    attended = combine_tokens(tokens, "attention")
    everything = tokens.tokens.reshape(12, 8).astype(np.float64)
    weights = np.exp(tokens.tokens[0] @ everything.T / np.sqrt(8))
    np.testing.assert_allclose(attended, weights @ everything / weights.sum(1, keepdims=True), atol=1e-5)
    single = ImageTokens(tokens.tokens[:1], ())
    np.testing.assert_array_equal(combine_tokens(single, "attention"), tokens.tokens[0])
    with pytest.raises(ValueError, match="'concat', 'mean' or 'attention'"):
        combine_tokens(tokens, "sum")
