"""Transcripts in one piece and in parts, from one speech model."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import numpy as np
import pytest
from fake_services import fake_transcript

from encoders.errors import UnsupportedMedia
from encoders.speech.transcriber import TranscriptStream
from encoders.types import TranscribeOptions, Transcript, TranscriptBegun
from serving.deployments.listening import Listening

SOUND = np.zeros(16_000, np.float32)
SAID = fake_transcript([(float(index), index + 1.0, f"word{index}") for index in range(5)], 5.0)


class FakeTranscriber:
    """Says ``SAID``, each segment when it is let; counts what was heard."""

    languages = ("en",)

    def __init__(self) -> None:
        self.turns = threading.Semaphore(0)
        self.heard = 0
        self.closed = threading.Event()

    def stream(self, samples, options):
        if options.language == "xx":
            raise UnsupportedMedia("The language 'xx' is not known.")

        def segments():
            try:
                for segment in SAID.segments:
                    assert self.turns.acquire(timeout=10)
                    self.heard += 1
                    yield segment
            finally:
                self.closed.set()

        return TranscriptStream("en", 1.0, SAID.duration_seconds, segments())

    def transcribe(self, samples, options):
        return self.stream(samples, options).transcript()

    def detect_language(self, samples):
        return ()

    def encode(self, samples):
        raise NotImplementedError


@pytest.fixture
def model():
    return FakeTranscriber()


@pytest.fixture
async def listening(model):
    made = Listening(model, 2)
    yield made
    model.turns.release(100)
    await made.aclose()


async def test_whole_and_in_parts_say_the_same(listening, model):
    model.turns.release(10)
    assert await listening.transcribe(SOUND, TranscribeOptions()) == SAID
    first, *segments = [part async for part in listening.stream(SOUND, TranscribeOptions())]
    assert first == TranscriptBegun("en", 5.0)
    assert Transcript(first.language, first.duration_seconds, tuple(segments)) == SAID


async def test_a_part_comes_before_the_next_is_heard(listening, model):
    async with aclosing(listening.stream(SOUND, TranscribeOptions())) as parts:
        assert isinstance(await anext(parts), TranscriptBegun)
        for number, segment in enumerate(SAID.segments, start=1):
            model.turns.release()
            assert await anext(parts) == segment
            assert model.heard == number


async def test_who_leaves_ends_the_work(listening, model):
    async with aclosing(listening.stream(SOUND, TranscribeOptions())) as parts:
        model.turns.release()
        await anext(parts)
        await anext(parts)
    model.turns.release(10)
    assert await asyncio.to_thread(model.closed.wait, 10)
    assert model.heard <= 2  # the one that was under way
    asked = asyncio.create_task(listening.transcribe(SOUND, TranscribeOptions()))
    assert await asyncio.wait_for(asked, 10) == SAID  # the model is free again


async def test_errors_come_out_of_both(listening):
    wrong = TranscribeOptions("xx")
    with pytest.raises(UnsupportedMedia):
        await listening.transcribe(SOUND, wrong)
    with pytest.raises(UnsupportedMedia):
        await anext(listening.stream(SOUND, wrong))


async def test_who_is_idle_is_alive_once_it_has_heard_a_moment_of_silence(listening, model):
    model.turns.release(10)
    await listening.check_alive(30)
    assert model.closed.is_set()


async def test_who_is_busy_is_alive_as_long_as_it_says_something_now_and_then(listening, model, monkeypatch):
    async with aclosing(listening.stream(SOUND, TranscribeOptions())) as parts:
        await anext(parts)
        await listening.check_alive(0.01)  # it has begun: no other item is asked for
        monkeypatch.setattr(
            "serving.deployments.listening._SILENCE_SECONDS", 0.0
        )  # it is silent for too long
        with pytest.raises(TimeoutError):
            await listening.check_alive(0.01)
        monkeypatch.undo()
        model.turns.release()
        await anext(parts)
        await listening.check_alive(0.01)


async def test_who_began_while_a_moment_of_silence_waited_is_alive(listening, model, monkeypatch):
    busy = iter((False, True))
    monkeypatch.setattr("encoders.batching.micro_batcher.MicroBatcher._is_busy", lambda *_: next(busy))
    await listening.check_alive(0.01)  # nobody lets it end
