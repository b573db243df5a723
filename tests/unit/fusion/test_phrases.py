"""Phrases that a question quotes."""

from __future__ import annotations

import pytest

from fusion.phrases import phrases_of


@pytest.mark.parametrize(
    ("question", "phrases"),
    [
        ('What is on screen when he says "look at that"?', ("look at that",)),
        ("What is shown at \u201cone\u201d and at \u201etwo\u201c?", ("one", "two")),
        ("Where is he when he says 'that's it'?", ("that's it",)),
        (
            "What's on screen when she said that tickets are sold out, and who is she?",
            ("tickets are sold out",),
        ),
        ("What is he saying?", ()),
        ("What do the people's dogs' owners do?", ()),
        ('A mark "" of nothing, and "a" letter', ()),
        ('"one" "one" "two" "three" "four" "five"', ("one", "two", "three", "four")),
        ("", ()),
    ],
)
def test_phrases(question: str, phrases: tuple[str, ...]) -> None:
    assert phrases_of(question) == phrases


def test_a_phrase_has_an_end() -> None:
    (phrase,) = phrases_of('"' + "la " * 10_000 + '"')
    assert len(phrase) <= 200
