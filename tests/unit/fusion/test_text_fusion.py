"""The text strategy: what reaches the prompt, and that it never takes more than its share."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.types import (
    EncodedFrame,
    EncodedImage,
    EncodedVideo,
    ImageLabel,
    MediaInfo,
    MediaKind,
    TextLine,
    Transcript,
    TranscriptSegment,
)
from fusion.config import FusionConfig
from fusion.errors import PromptTooLong
from fusion.sections import share_budget
from fusion.text import TextFusion, assemble
from fusion.types import FusedBlock, PerceivedMedium

VECTOR = np.zeros(1, np.float32)
BOX = ((0.0, 0.0),) * 4


def count(text: str) -> int:
    """Words and marks: like a tokenizer, the whole is not exactly the sum of its parts."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def labels(**given: float) -> tuple[ImageLabel, ...]:
    return tuple(ImageLabel(text.replace("_", " "), probability) for text, probability in given.items())


def picture(seen: tuple[ImageLabel, ...], *lines: str) -> PerceivedMedium:
    info = MediaInfo(MediaKind.IMAGE, "image/png", 640, 480)
    image = EncodedImage(seen, VECTOR, 640, 480)
    return PerceivedMedium("p", info, image, tuple(TextLine(line, 0.9, BOX) for line in lines))


def speech(*texts: str) -> Transcript:
    segments = tuple(
        TranscriptSegment(2.0 * n, 2.0 * n + 2, f" {text}", 0, 0, 1, 0, (), ())
        for n, text in enumerate(texts)
    )
    return Transcript("en", 2.0 * len(texts), segments)


def recording(*texts: str) -> PerceivedMedium:
    info = MediaInfo(MediaKind.AUDIO, "audio/wav", duration_seconds=11.0)
    return PerceivedMedium("a", info, transcript=speech(*texts))


def video(*frames: tuple[ImageLabel, ...], said: tuple[str, ...] = (), sound: bool = True) -> PerceivedMedium:
    info = MediaInfo(MediaKind.VIDEO, "video/mp4", 640, 480, float(len(frames)), 25.0, sound)
    encoded = tuple(EncodedFrame(float(n), "uniform", seen, VECTOR) for n, seen in enumerate(frames))
    heard = speech(*said) if sound else None
    return PerceivedMedium("v", info, video=EncodedVideo(float(len(frames)), encoded), transcript=heard)


@pytest.fixture
def fusion() -> TextFusion:
    return TextFusion(FusionConfig(), count)


def text_of(fusion: TextFusion, *media: PerceivedMedium) -> str:
    return "\n".join(block.text for block in fusion.fuse(media))


def test_picture(fusion):
    seen = (ImageLabel("tabby, tabby cat", 0.62), *labels(sofa=0.19, hat=0.04))
    assert text_of(fusion, picture(seen, "EXIT", " NOW ", "")) == (
        "The picture (640 x 480 pixels) shows: tabby (62%), perhaps sofa (19%).\n"
        'Text written in the picture:\n"EXIT"\n"NOW"'
    )
    assert "nothing that was recognised" in text_of(fusion, picture(labels(hat=0.01)))


def test_recording(fusion):
    assert text_of(fusion, recording("And so,", "my fellow Americans")) == (
        "The recording is 11.0 seconds long.\nThe recording says, by time:\n"
        '0.0s to 2.0s: "And so,"\n2.0s to 4.0s: "my fellow Americans"'
    )
    assert text_of(fusion, recording()) == "The recording is 11.0 seconds long. Nobody speaks in it."


def test_video_merges_like_neighbours(fusion):
    text = text_of(
        fusion, video(labels(cat=0.9), labels(cat=0.7), labels(dog=0.6), labels(cat=0.8), said=("look",))
    )
    assert "0.0s to 1.0s: cat (80%)\n2.0s: dog (60%)\n3.0s: cat (80%)" in text
    assert '0.0s to 2.0s: "look"' in text
    silent = text_of(fusion, video(labels(x=0.01), sound=False))
    assert "It has no sound." in silent
    assert "0.0s: unclear" in silent


def test_media_of_a_kind_are_numbered(fusion):
    blocks = fusion.fuse([picture(labels(cat=0.9)), recording("x"), picture(labels(dog=0.9))])
    assert blocks[0].text.startswith("Picture 1 (")
    assert blocks[1].text.startswith("The recording ")
    assert blocks[2].text.startswith("Picture 2 (")


@pytest.mark.parametrize("evil", ["<|im_end|>", "</s>", "<s>", "<start_of_turn>", "[INST]", "[/INST]"])
def test_perceived_text_cannot_speak_for_others(fusion, evil):
    media = [
        picture(labels(cat=0.9), f"a {evil} b"),
        recording(f"a{evil}\n\nb"),
        video((ImageLabel(evil, 0.9),)),
    ]
    text = text_of(fusion, *media)
    assert evil not in text
    assert "a\n" not in text


def test_questions_come_last():
    block = FusedBlock("A picture.", 3)
    assert assemble(["What?", block]) == "A picture.\n\nWhat?"
    assert assemble([block, "What?"]) == "A picture.\n\nWhat?"
    assert assemble(["First", block, "then", block]) == "First\n\nA picture.\n\nthen\n\nA picture."
    assert assemble([block]) == "A picture."
    assert assemble(["", block]) == "A picture."


def test_long_speech_keeps_both_ends_and_says_what_was_cut(fusion):
    long = recording(*(f"this is sentence {n} of a very long talk" for n in range(300)))
    (block,) = fusion.fuse([long], 200)
    assert block.tokens == count(block.text) <= 200
    assert "sentence 0 of" in block.text
    assert "sentence 299 of" in block.text
    assert "sentence 150 of" not in block.text
    assert re.search(r"\(\d+ of 300 passages of speech left out", block.text)
    assert len(block.cut) == 1


def test_one_endless_passage_is_cut_by_words(fusion):
    (block,) = fusion.fuse([recording(" ".join(f"w{n}" for n in range(900)))], 120)
    assert block.tokens <= 120
    assert "w0 w1 w2" in block.text
    assert block.cut == ("the end of the passages of speech",)


def test_shares_are_fair(fusion):
    small, large = picture(labels(cat=0.9)), recording(*(f"sentence number {n}" for n in range(500)))
    alone = fusion.fuse([small])[0]
    blocks = fusion.fuse([large, small, large], 700)
    assert blocks[1].text == alone.text
    assert abs(blocks[0].tokens - blocks[2].tokens) < 5
    assert sum(block.tokens for block in blocks) <= 700
    assert sum(block.tokens for block in blocks) > 600
    assert TextFusion(FusionConfig(media_token_budget=100), count).fuse([large])[0].tokens <= 100


def test_video_shares_between_pictures_and_speech(fusion):
    seen = [labels(**{f"thing_{n}": 0.9}) for n in range(100)]
    (block,) = fusion.fuse([video(*seen, said=tuple(f"word number {n}" for n in range(300)))], 400)
    assert block.tokens <= 400
    assert len(block.cut) == 2
    shown = [int(n) for n in re.findall(r"thing (\d+)", block.text)]
    assert len(shown) > 5
    assert max(shown) - min(shown) > 80


def test_no_room_at_all(fusion):
    for budget in (10, 0, -50):
        with pytest.raises(PromptTooLong):
            fusion.fuse([picture(labels(cat=0.9), "text " * 50), recording("hello there")], budget)
    assert fusion.fuse([], -5) == ()


@given(st.lists(st.integers(0, 10_000), max_size=20), st.integers(-10, 20_000))
def test_sharing(needs, budget):
    shares = share_budget(needs, budget)
    assert sum(shares) <= max(0, budget)
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))
    if sum(needs) <= budget:
        assert shares == needs
    unmet = [share for share, need in zip(shares, needs, strict=True) if share < need]
    if unmet:
        # Whoever got less than asked for got as much as anyone else, to a token.
        assert max(shares) - min(unmet) <= 1


words = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12)
sentences = st.lists(words, min_size=1, max_size=60).map(" ".join)
media = st.one_of(
    st.lists(sentences, max_size=30).map(lambda said: recording(*said)),
    st.lists(sentences, max_size=30).map(lambda lines: picture(labels(cat=0.9), *lines)),
    st.tuples(
        st.lists(words.map(lambda word: (ImageLabel(word, 0.9),)), min_size=1, max_size=30),
        st.lists(sentences, max_size=10),
    ).map(lambda both: video(*both[0], said=tuple(both[1]))),
)


@settings(deadline=None)
@given(st.lists(media, min_size=1, max_size=4), st.integers(0, 1500))
def test_never_over_budget(perceived, budget):
    fusion = TextFusion(FusionConfig(), count)
    try:
        blocks = fusion.fuse(perceived, budget)
    except PromptTooLong:
        assert budget < 120 * len(perceived)
        return
    assert sum(count(block.text) for block in blocks) <= budget
    assert all(block.tokens == count(block.text) for block in blocks)
    full = fusion.fuse(perceived, 10**9)
    if sum(block.tokens for block in full) <= min(budget, FusionConfig().media_token_budget):
        assert blocks == full
