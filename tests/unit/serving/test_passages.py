"""Passages with their places."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from serving.passages import passages_of


def listed(text: str) -> list[str]:
    """The same, the plain way: everything in memory."""
    found: list[str] = []
    passage: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
        words = sentence.split()
        if passage and len(passage) + len(words) > 150:
            found.append(" ".join(passage))
            passage = []
        passage += words
        while len(passage) > 150:
            found.append(" ".join(passage[:150]))
            passage = passage[150:]
    return [*found, " ".join(passage)] if passage else found


sentences = st.builds(
    lambda count, end: "word " * count + f"last{end}",
    st.integers(0, 320),
    st.sampled_from([".", "! ", "?\n", "\n\n", " ", "\n \n", " "]),
)


@given(st.lists(sentences | st.text(max_size=40), max_size=8).map(" ".join))
def test_they_are_those_of_the_plain_way_and_lie_where_they_say(text):
    found = list(passages_of(text))
    assert [passage.text for passage in found] == listed(text)
    end = 0
    for passage in found:
        assert end <= passage.start < passage.end <= len(text)
        assert " ".join(text[passage.start : passage.end].split()) == passage.text
        assert not text[end : passage.start].strip()
        end = passage.end
    assert not text[end:].strip()


def test_a_passage_ends_where_a_sentence_does():
    text = "one. " * 149 + "This sentence goes on beyond it. Another one."
    first, second = passages_of(text)
    assert first.text == ("one. " * 149).strip()
    assert second.text == "This sentence goes on beyond it. Another one."
    assert text[second.start : second.end] == second.text
