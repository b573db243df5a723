"""Which pairs a step looks at, and how text and soft tokens become one batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion.training.batches import IGNORED, chosen, join, padded
from fusion.training.dialogue import Example


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
def test_every_pair_is_looked_at_once_an_epoch(pairs: int, batch_size: int, seed: int) -> None:
    epochs = 3
    steps = -(-pairs * epochs // batch_size)
    seen = [choice.pair for step in range(steps) for choice in chosen(step, pairs, batch_size, seed)]
    for epoch in range(epochs):
        assert sorted(seen[epoch * pairs : (epoch + 1) * pairs]) == list(range(pairs))


def test_a_steps_choice_depends_on_its_arguments_alone_and_varies() -> None:
    assert chosen(7, 100, 8, seed=3) == chosen(7, 100, 8, seed=3)
    assert chosen(7, 100, 8, seed=3) != chosen(7, 100, 8, seed=4)
    draws = [choice for step in range(200) for choice in chosen(step, 100, 8, seed=0)]
    captions = Counter(int(choice.caption * 5) for choice in draws)
    assert set(captions) == set(range(5))
    assert min(captions.values()) > 200  # of 320 on average
    assert len({choice.prompt for choice in draws}) == len(draws)


def test_pictures_of_one_length_have_no_mask_others_have() -> None:
    short, long = np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32)
    tokens, mask = padded([long, long])
    assert mask is None
    assert tokens.shape == (2, 4, 3)
    tokens, mask = padded([short, long])
    assert mask is not None
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert tokens[0].sum() == 6


def test_text_and_soft_tokens_stand_in_the_chats_order_and_each_answer_token_is_predicted_by_the_place_before() -> (
    None
):
    embed = torch.nn.Embedding(20, 4)
    soft = torch.full((2, 3, 4), 100.0)
    examples = [Example((1, 2), (3,), (4, 5, 0)), Example((1,), (3, 6, 7), (8, 0))]
    batch = join(examples, soft, embed)
    assert batch.embeddings.shape == (2, 9, 4)
    assert batch.mask.tolist() == [[1] * 9, [1] * 9]
    first = torch.cat([embed(torch.tensor([1, 2])), soft[0], embed(torch.tensor([3, 4, 5, 0]))])
    assert torch.equal(batch.embeddings[0], first)
    # Place 5 is the last before the first answer token of example 0, place 6 of example 1.
    assert batch.first == 5
    assert batch.labels.tolist() == [[4, 5, 0, IGNORED], [IGNORED, 8, 0, IGNORED]]


def test_shorter_examples_are_padded_and_masked() -> None:
    embed = torch.nn.Embedding(20, 4)
    batch = join([Example((1,), (2,), (3, 0)), Example((), (), (3,))], torch.zeros(2, 1, 4), embed)
    assert batch.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.embeddings[1, 2:].abs().sum() == 0
    assert batch.first == 0
    assert batch.labels[1].tolist() == [3, *[IGNORED] * 4]
