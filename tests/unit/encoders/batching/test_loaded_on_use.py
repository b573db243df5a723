"""A model is loaded by its first question, once, and asked again after a failure."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_batch_encoder import FakeEncoder

from encoders.batching.loaded_on_use import LoadedOnUse
from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import BatchLimits
from encoders.errors import ModelUnavailable


def test_many_first_questions_load_once() -> None:
    loads: list[int] = []
    all_ask = threading.Barrier(4)

    def load() -> FakeEncoder:
        loads.append(threading.get_ident())
        return FakeEncoder()

    model: LoadedOnUse[int, int] = LoadedOnUse(load)
    assert not model.loaded

    def ask(item: int) -> list[int]:
        all_ask.wait(10)
        return model.run(model.prepare([item]))

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(ask, range(4))) == [[0], [2], [4], [6]]
    assert len(loads) == 1
    assert model.loaded
    assert (model.bucket(31), model.cost(31)) == (3, 31)


async def test_a_model_that_does_not_load_is_tried_again_and_harms_no_queue() -> None:
    failing = [True]

    def load() -> FakeEncoder:
        if failing.pop():
            raise ModelUnavailable("The model is not prepared.")
        return FakeEncoder()

    failing.insert(0, False)
    batcher: MicroBatcher[int, int] = MicroBatcher(LoadedOnUse(load), BatchLimits())
    with pytest.raises(ModelUnavailable):
        await batcher.submit((1,))
    assert await batcher.submit((1, 2)) == [2, 4]
    await batcher.aclose()
