"""Embeddings through the official client."""

from __future__ import annotations

import numpy as np
import openai
import pytest
from fake_services import fake_embedding

MODEL = "all-minilm-l6-v2"


async def test_one_and_many_as_base64_and_numbers(client):
    texts = ["a red house", "a blue car"]
    # The official client asks for base64 and decodes it, unless told otherwise.
    as_base64 = await client.embeddings.create(model=MODEL, input=texts)
    as_numbers = await client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    for answer in (as_base64, as_numbers):
        assert answer.model == MODEL
        assert [item.index for item in answer.data] == [0, 1]
        for item, text in zip(answer.data, texts, strict=True):
            np.testing.assert_array_equal(np.asarray(item.embedding, np.float32), fake_embedding(text))
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == 6
    one = await client.embeddings.create(model=MODEL, input="a red house", dimensions=384, user="u")
    assert len(one.data) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x", " "]}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ["x"] * 9}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": "x", "dimensions": 128}, "dimensions"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "extra_body": {"truncate_prompt_tokens": 5}}, "truncate_prompt_tokens"),
    ],
)
async def test_refusals(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        await client.embeddings.create(model=MODEL, **fields)
    assert refused.value.param == param
