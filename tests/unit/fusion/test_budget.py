"""How a prompt is shared among pictures, videos and what is said in them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.budget import Need, share_out, spread
from fusion.errors import PromptTooLong

needs = st.lists(
    st.builds(
        Need,
        fixed_tokens=st.integers(0, 20),
        pieces=st.integers(0, 40),
        piece_tokens=st.integers(1, 60),
        text_tokens=st.integers(0, 400),
        views=st.booleans(),
    ),
    max_size=6,
)


def taken(need: Need, pieces: int, text: int) -> int:
    return need.fixed_tokens + pieces * need.piece_tokens + text


def test_everything_stands_where_there_is_room() -> None:
    picture, video = Need(2, 5, 32, 10, views=True), Need(8, 16, 40, 100)
    shares = share_out([picture, video], 2000, 1500)
    assert [share.pieces for share in shares] == [tuple(range(5)), tuple(range(16))]
    assert [share.text_tokens for share in shares] == [10, 100]


def test_views_of_a_picture_stand_all_or_the_first_alone() -> None:
    (share,) = share_out([Need(0, 5, 32, views=True)], 159, 0)
    assert share.pieces == (0,)
    (share,) = share_out([Need(0, 5, 32, views=True)], 160, 0)
    assert share.pieces == (0, 1, 2, 3, 4)


def test_frames_are_thinned_evenly_and_in_steps() -> None:
    (share,) = share_out([Need(0, 16, 10)], 80, 0)
    assert share.pieces == (1, 3, 5, 7, 9, 11, 13, 15)
    # A question that is some words longer finds the same frames.
    assert share_out([Need(0, 16, 10)], 119, 0)[0].pieces == share.pieces


def test_texts_have_a_budget_of_their_own() -> None:
    (share,) = share_out([Need(0, 2, 10, text_tokens=500)], 5000, 120)
    assert (share.pieces, share.text_tokens) == ((0, 1), 120)


def test_one_piece_of_each_must_fit() -> None:
    with pytest.raises(PromptTooLong, match="fewer media"):
        share_out([Need(3, 16, 40), Need(3, 1, 40)], 85, 100)


@given(needs, st.integers(0, 3000), st.integers(0, 500))
def test_shares_keep_to_the_budget_and_show_something_of_each(
    asked: list[Need], budget: int, text_budget: int
) -> None:
    try:
        shares = share_out(asked, budget, text_budget)
    except PromptTooLong:
        assert sum(taken(need, min(1, need.pieces), 0) for need in asked) > budget
        return
    total = sum(taken(need, len(s.pieces), s.text_tokens) for need, s in zip(asked, shares, strict=True))
    assert total <= budget
    assert sum(share.text_tokens for share in shares) <= text_budget
    for need, share in zip(asked, shares, strict=True):
        assert len(share.pieces) >= min(1, need.pieces)
        assert list(share.pieces) == sorted(set(share.pieces))
        assert all(0 <= piece < need.pieces for piece in share.pieces)


@given(st.integers(1, 200), st.data())
def test_spread_reaches_across_the_whole(items: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, items))
    chosen = spread(items, wanted)
    assert len(set(chosen)) == wanted
    gaps = [after - before for before, after in pairwise(chosen)]
    assert not gaps or max(gaps) - min(gaps) <= 1
