"""The arithmetic on text vectors that all text models share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.text.encoder import (
    TextEmbedding,
    check_dimensions,
    joined_pieces,
    prompt_of,
    shortened,
    split_tokens,
    stacked,
    text_of,
    unit_rows,
)


def test_rows_of_norm_one() -> None:
    made = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, [[0.6, 0.8], [0.0, 0.0]])


@given(st.lists(st.integers(0, 9), max_size=300), st.integers(1, 77))
def test_pieces_hold_every_token_once_and_fit(ids: list[int], room: int) -> None:
    pieces = split_tokens(ids, room)
    assert [token for piece in pieces for token in piece] == ids
    assert all(len(piece) <= room for piece in pieces)
    assert len(pieces) == max(1, -(-len(ids) // room))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_pieces_need_room() -> None:
    with pytest.raises(ValueError, match="room"):
        split_tokens([1], 0)


def test_pieces_are_joined_by_their_tokens() -> None:
    pieces = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(joined_pieces(pieces, (3, 1)), np.array([3, 1]) / np.sqrt(10), rtol=1e-6)
    assert joined_pieces(pieces[:1], (9,)).tolist() == [1, 0]
    with pytest.raises(ValueError, match="token count"):
        joined_pieces(pieces, (1,))


def test_fewer_dimensions_are_normalised_again() -> None:
    vectors = unit_rows(np.random.default_rng(0).normal(size=(5, 8)))
    cut = shortened(vectors, 3)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cut, unit_rows(vectors[:, :3]))
    assert shortened(vectors, None) is vectors
    assert shortened(vectors, 8) is vectors
    for wrong in (0, -1, 9):
        with pytest.raises(ValueError, match="cannot be cut"):
            shortened(vectors, wrong)


def test_dimensions_are_checked() -> None:
    check_dimensions(None, 384, None)
    check_dimensions(384, 384, None)
    check_dimensions(256, 768, 128)
    with pytest.raises(ValueError, match="384 dimensions and cannot be cut to 128"):
        check_dimensions(128, 384, None)
    for wrong in (64, 1024):
        with pytest.raises(ValueError, match=f"128 to 768 dimensions, not {wrong}"):
            check_dimensions(wrong, 768, 128)


def test_prompts() -> None:
    prompts = {"query": "query: ", "passage": "passage: "}
    assert prompt_of(None, prompts) == ""
    assert prompt_of(None, prompts, "query") == "query: "
    assert prompt_of("passage", prompts, "query") == "passage: "
    assert prompt_of("Find this: ", prompts, "query") == "Find this: "
    assert prompt_of("", prompts, "query") == ""


def test_stacking_keeps_order_and_counts() -> None:
    results = [TextEmbedding(np.full(3, index, np.float32), 4 + index, 1 + index) for index in range(2)]
    made = stacked(results, 3)
    assert made.vectors.tolist() == [[0, 0, 0], [1, 1, 1]]
    assert (made.token_counts, made.chunk_counts) == ((4, 5), (1, 2))
    assert stacked((), 3).vectors.shape == (0, 3)


def test_the_text_side_of_a_model() -> None:
    class FakeJoint:
        text = "the text side"

    assert text_of(FakeJoint()) == "the text side"
    assert text_of("a text model") == "a text model"
