"""The ONNX graph of BERT against transformers' own, on random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_text_models import tiny_bert_weights

from encoders.text.bert_graph import bert_graph, open_session, packed_inputs

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
HEADS = 4


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    return tiny_bert_weights()


def texts(seed: int = 0, count: int = 9) -> list[np.ndarray]:
    dice = np.random.default_rng(seed)
    return [
        dice.integers(0, 50, length).astype(np.int32) for length in [1, 40, *dice.integers(2, 40, count - 2)]
    ]


def hidden_of(session: Any, batch: list[np.ndarray]) -> list[np.ndarray]:
    (hidden,) = session.run(["hidden"], packed_inputs(batch))
    return np.split(hidden, np.cumsum([len(ids) for ids in batch])[:-1])


def test_packing() -> None:
    inputs = packed_inputs([np.array(ids, np.int32) for ids in ([7, 8], [9], [4, 5, 6])])
    assert inputs["ids"].tolist() == [7, 8, 9, 4, 5, 6]
    assert inputs["positions"].tolist() == [0, 1, 0, 0, 1, 2]
    assert inputs["padded"].tolist() == [[0, 1, 1], [2, 2, 2], [3, 4, 5]]
    assert inputs["packed"].tolist() == [0, 1, 3, 6, 7, 8]
    assert inputs["lengths"].tolist() == [2, 1, 3]
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int32)}


def test_float32_equals_transformers(weights: dict[str, Any]) -> None:
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=40, attn_implementation="eager",
    )  # fmt: skip
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    batch = texts()
    made = hidden_of(open_session(bert_graph(weights, HEADS, int8=False)), batch)
    for ids, ours in zip(batch, made, strict=True):
        with torch.inference_mode():
            theirs = bert(torch.from_numpy(ids.astype(np.int64))[None]).last_hidden_state[0].numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_int8_is_near_and_the_same_in_any_company(weights: dict[str, Any]) -> None:
    exact = open_session(bert_graph(weights, HEADS, int8=False))
    session = open_session(bert_graph(weights, HEADS, int8=True))
    batch = texts()
    together = hidden_of(session, batch)
    for ids, ours, wanted in zip(batch, together, hidden_of(exact, batch), strict=True):
        cosines = (ours * wanted).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(wanted, axis=1)
        assert cosines.min() > 0.99
        for company in ([], texts(1), texts(2, 30)):
            alone = hidden_of(session, [ids, *company])[0]
            np.testing.assert_allclose(alone, ours, atol=1e-5)


def test_a_row_of_zeros_is_no_division_by_zero(weights: dict[str, Any]) -> None:
    zeroed = {name: np.zeros_like(array) for name, array in weights.items()}
    made = hidden_of(open_session(bert_graph(zeroed, HEADS, int8=True)), texts())
    assert all(np.isfinite(hidden).all() for hidden in made)


def test_the_same_weights_give_the_same_bytes(weights: dict[str, Any]) -> None:
    assert bert_graph(weights, HEADS, int8=True) == bert_graph(weights, HEADS, int8=True)
