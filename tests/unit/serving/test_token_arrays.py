"""Token arrays become the texts that they were made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_text_models import word_tokenizer

from serving.errors import InvalidRequest, LimitExceeded
from serving.token_arrays import TokenArrays, token_arrays_in


@pytest.mark.parametrize(
    ("given", "arrays"),
    [
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        ("text", None),
        ([], None),
        ([[]], None),
        (["text"], None),
        ([["text"]], None),
        ([[1], ["text"]], None),
    ],
)
def test_what_is_a_token_array(given: object, arrays: object) -> None:
    assert token_arrays_in(given) == arrays


async def test_special_tokens_around_are_left_out_and_those_within_stay(tmp_path: Path) -> None:
    file = word_tokenizer(tmp_path / "tokenizer.json", ["a", "cat"])
    reader = TokenArrays(file, "m", 10)
    assert await reader.texts([[4, 5], [2, 4, 5, 3], [4, 1, 5]]) == ["a cat", "a cat", "a [UNK] cat"]


async def test_exactly_at_the_limit_passes(tmp_path: Path) -> None:
    reader = TokenArrays(word_tokenizer(tmp_path / "tokenizer.json", ["a"]), "m", 4)
    assert len(await reader.texts([[4, 4], [4, 4]])) == 2
    with pytest.raises(LimitExceeded, match="5 tokens"):
        await reader.texts([[4, 4], [4, 4, 4]])


@pytest.mark.models
async def test_the_served_models_tokens_come_back_as_the_same_tokens(models_dir: Path) -> None:
    from tokenizers import Tokenizer

    file = models_dir / "all-minilm-l6-v2" / "tokenizer.json"
    tokenizer, reader = Tokenizer.from_file(str(file)), TokenArrays(file, "all-minilm-l6-v2", 10_000)
    texts = (  # the tokenizer fills up to 128 tokens, and cuts there
        "The quick brown fox jumps over the lazy dog.",
        "Isn't it 3:45pm already, at foo_bar@example.com? (No: C++ costs $4.50.)",
        "naïve cafés in Zürich 🙂 日本語",
        "antidisestablishmentarianism and electroencephalography",
    )
    for special in (False, True):
        ids = [tokenizer.encode(text, add_special_tokens=special).ids for text in texts]
        read = await reader.texts(ids)
        assert [tokenizer.encode(text, add_special_tokens=special).ids for text in read] == ids
    with pytest.raises(InvalidRequest, match="none of the 30522"):
        await reader.texts([[791, 4062, 40190]])  # "The quick" and more, of OpenAI's cl100k_base
