"""What moderation models share, and how texts become the windows that ToxBlock reads."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from encoders.errors import ModelUnavailable
from encoders.models import open_nsfw, tox_block
from encoders.models.tox_block import ToxBlock
from encoders.moderation import ModerationScores


def test_scores_are_sorted_by_name() -> None:
    scores = ModerationScores.of({"toxic": 0.25, "hate": np.float32(0.5)})
    assert scores.categories == (("hate", 0.5), ("toxic", 0.25))
    assert scores["toxic"] == 0.25
    with pytest.raises(KeyError):
        scores["sexual"]
    assert pickle.loads(pickle.dumps(scores)) == scores  # noqa: S301 - our own bytes


def test_the_highest_of_several_frames_counts() -> None:
    first, second = ModerationScores.of({"sexual": 0.1, "hate": 0.4}), ModerationScores.of({"sexual": 0.7})
    assert ModerationScores.highest((first, second)).categories == (("hate", 0.4), ("sexual", 0.7))
    assert ModerationScores.highest(()).categories == ()


def test_no_category_is_promised_that_is_not_given() -> None:
    assert open_nsfw.SPEC.extra["categories"] == ("sexual",)
    assert set(tox_block.SPEC.extra["categories"]) == set(tox_block._CATEGORIES)


@pytest.fixture
def reader() -> ToxBlock:
    model = object.__new__(ToxBlock)
    model._numbers = {word: number for number, word in enumerate(("you", "don't", "are", "fine"), start=1)}
    return model


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("You are fine!", [1, 3, 4]),
        ("don't, DON\u2019T", [2, 2]),
        ("you\nare\tunknownword fine", [1, 3, 4]),
        ("", []),
        ("\u4f60\u597d", []),
    ],
)
def test_words_become_numbers(text: str, numbers: list[int], reader: ToxBlock) -> None:
    (windows,) = reader.prepare([text])
    assert windows.shape == (1, 100)
    assert windows.dtype == np.int32
    assert windows[0].tolist() == [0] * (100 - len(numbers)) + numbers


@pytest.mark.parametrize(("words", "count"), [(30, 1), (31, 2), (45, 2), (46, 3), (1000, 66)])
def test_long_texts_are_read_to_their_end(words: int, count: int, reader: ToxBlock) -> None:
    spoken = [*(["you", "are"] * words)[: words - 1], "fine"]
    (windows,) = reader.prepare([" ".join(spoken)])
    assert windows.shape == (count, 100)
    assert windows[:, -30:].all()
    assert not windows[:, :-30].any()
    assert windows[-1, -1] == 4
    assert reader.cost(windows) == count * 100
    assert reader.bucket(windows) == 100


def test_nothing_in_the_pickle_is_carried_out(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("carried out",)

    path = tmp_path / "encoder.pkl"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ModelUnavailable, match="unexpected"):
        tox_block._words(path)


def test_the_square_is_the_middle_of_the_squeezed_picture() -> None:
    image = np.zeros((512, 1024, 3), dtype=np.uint8)
    image[:, 512:, 0] = 255  # the right half is red
    square = open_nsfw._square(image)
    assert square.shape == (224, 224, 3)
    assert square.dtype == np.uint8
    assert square[112, 20, 0] < 20
    assert square[112, 200, 0] > 235
