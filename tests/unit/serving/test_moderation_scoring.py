"""Texts are judged in pieces, and once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.moderation.policy import CATEGORIES, ModerationPolicy
from serving.moderation.scoring import pieces_of


@given(st.lists(st.integers(1, 30), max_size=3000), st.sampled_from([" ", "\n", ""]))
def test_every_thirty_words_lie_in_one_piece_whole(lengths: list[int], gap: str) -> None:
    words = [chr(97 + index % 26) * length for index, length in enumerate(lengths)]
    text = gap.join(words)
    pieces = list(pieces_of(text))
    assert all(len(piece) <= 4000 for piece in pieces)
    assert len(pieces) <= 1 + len(text) // 1500
    if gap == " ":
        for start in range(0, len(words), 97):
            window = " ".join(words[start : start + 30])[:250]
            assert any(window in piece for piece in pieces)
    assert set("".join(pieces)) == set(text)


def test_a_category_counts_from_its_threshold_on() -> None:
    policy = ModerationPolicy(threshold=0.5, thresholds={"hate": 0.8})
    assert policy.category_of({"hate": 0.79, "harassment": 0.49}) is None
    assert policy.category_of({"hate": 0.8, "harassment": 0.5}) == "hate"
    assert policy.category_of({"hate": 0.7, "harassment": 0.5}) == "harassment"
    assert policy.category_of({"toxic": 1.0}) is None
    assert len(set(CATEGORIES)) == 13
