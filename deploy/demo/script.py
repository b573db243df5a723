"""What the tour asks and looks for, and what must come back. The one place to tune it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "COLLECTION",
    "QUESTIONS",
    "SEARCHES",
    "SENTENCES",
    "SPEECH_WORDS",
    "Find",
    "Question",
]

COLLECTION = "demo"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about samples (``media`` are their names). Any answer will do that is not empty."""

    title: str
    text: str
    media: tuple[str, ...]
    max_tokens: int = 64


QUESTIONS = {
    "picture": Question("Ask about a photo", "What is in this picture?", ("cat",)),
    "together": Question(
        "Ask about a sign and a recording together",
        "When does the museum open, and where does the guided tour start?",
        ("sign", "speech"),
    ),
    "video": Question(
        "Ask about a video with sound",
        "Tell in a few sentences what this video shows, in order.",
        ("video",),
        max_tokens=96,
    ),
}

SPEECH_WORDS = ("museum", "morning", "tickets", "children", "fountain")
"""Words that the transcript of the recording must hold."""

SENTENCES = {
    "cat": "A cat is watching me.",
    "coffee": "Hot espresso in a small cup.",
    "rocket": "A rocket lifts off into space.",
    "museum": "The museum sells tickets at the door.",
    "rain": "It rained all day in the mountains.",
}
"""Texts that are indexed beside the samples."""


@dataclass(frozen=True, slots=True)
class Find:
    """A search and what must come first.

    ``words`` or the sample ``picture`` is looked for among documents of ``modality``; the first hit must be
    the sample ``finds`` (for texts, a sentence). With ``while_shown``, the best matching second must
    lie where that photo is on screen.
    """

    title: str
    modality: str
    finds: str
    words: str = ""
    picture: str = ""
    while_shown: str = ""


SEARCHES = (
    Find("A photo by a sentence", "image", "cat", words="a cat with whiskers looking at you"),
    Find("A photo by a sentence", "image", "coffee", words="a cup of hot coffee"),
    Find("A sentence by a photo", "text", "cat", picture="cat"),
    Find("A sentence by a photo", "text", "coffee", picture="coffee"),
    Find(
        "A second in a video by a sentence",
        "video",
        "video",
        words="a rocket taking off",
        while_shown="rocket",
    ),
    Find("A second in a video by a sentence", "video", "video", words="a cat", while_shown="cat"),
    Find("A passage of speech by a question", "audio", "speech", words="how much is a ticket?"),
)
