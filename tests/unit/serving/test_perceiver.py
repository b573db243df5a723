"""Encoders are asked once per medium, task and parameters."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fake_services import FakePerception, fake_mp4, fake_png, fake_wav
from served_models import served_models

from encoders.config import DecodeLimits
from encoders.errors import CorruptMedia, UnsupportedMedia
from encoders.types import FrameSampling, TranscribeOptions
from serving.catalogue import ModelCatalogue
from serving.concurrency import all_of
from serving.config import ChatModel, GatewayConfig, RequestLimits
from serving.errors import PerceptionTimeout
from serving.metrics import GatewayMetrics
from serving.perceiver import Perceiver
from storage.artifacts import ArtifactStore
from storage.cache import MemoryCache
from storage.derived import DerivedCache
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.vector_cache import VectorCache


class Bench:
    def __init__(self, root, **changes) -> None:
        self.store = LocalObjectStore(root)
        self.media = MediaStore(self.store)
        self.perception = FakePerception(self.media)
        self.limits = RequestLimits(**changes)
        self.perceiver = self.restarted()

    def restarted(self, frames: int = 16, decoding: DecodeLimits | None = None) -> Perceiver:
        """A gateway with empty memory over the same store."""
        chat, sampling = ChatModel("m", 2048, None), FrameSampling(max_frames=frames)
        config = GatewayConfig(chat, *served_models(), bytes(16), sampling=sampling, limits=self.limits)
        if decoding is not None:
            config = replace(config, decode_limits=decoding)
        memory = MemoryCache(1 << 20)
        derived = DerivedCache(memory, ArtifactStore(self.store))
        vectors = VectorCache(memory, None, {"text": 60.0})
        return Perceiver(self.perception, derived, vectors, ModelCatalogue(config), config, GatewayMetrics())

    def put(self, content: bytes):
        return self.media.receive("default", io.BytesIO(content), "image/png", 1 << 20)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_tiers(bench):
    ref = bench.put(fake_png())
    info = await bench.perceiver.probe(ref)
    first = await bench.perceiver.perceive(ref, info)
    assert first.tiers == {"labels": "miss", "ocr": "miss"}
    assert (await bench.perceiver.perceive(ref, info)).tiers == {"labels": "memory", "ocr": "memory"}
    again = await bench.restarted().perceive(bench.put(fake_png()), info)
    assert again.tiers == {"labels": "store", "ocr": "store"}
    assert again.medium.image.labels == first.medium.image.labels
    assert bench.perception.calls == {"probe": 1, "encode_image": 1, "read_text": 1}


async def test_only_what_is_needed(bench):
    for content, tasks in (
        (fake_wav((0.0, 1.0, "hi")), {"transcript"}),
        (fake_mp4([{"cat": 0.9}]), {"frames", "transcript"}),
        (fake_mp4([{"dog": 0.9}], sound=False), {"frames"}),
    ):
        ref = bench.put(content)
        assert set((await bench.perceiver.perceive(ref, await bench.perceiver.probe(ref))).tiers) == tasks


async def test_parameters_are_part_of_the_key(bench):
    ref = bench.put(fake_wav((0.0, 1.0, "hi")))
    for options in (
        None,
        TranscribeOptions("de"),
        TranscribeOptions(prompt="x"),
        TranscribeOptions(temperature=1),
    ):
        assert (await bench.perceiver.transcribe(ref, options))[1] == "miss"
    assert (await bench.perceiver.transcribe(ref, TranscribeOptions("de")))[1] == "memory"
    video = bench.put(fake_mp4([{"cat": 0.9}] * 5))
    assert len((await bench.perceiver.encode_video(video))[0].frames) == 5
    assert len((await bench.restarted(frames=2).encode_video(video))[0].frames) == 2


async def test_identical_concurrent_work_is_done_once(bench):
    ref = bench.put(fake_png())
    bench.perception.wait = asyncio.Event()
    waiting = [asyncio.create_task(bench.perceiver.encode_image(ref)) for _ in range(5)]
    await asyncio.sleep(0.05)
    bench.perception.wait.set()
    await asyncio.gather(*waiting)
    assert bench.perception.calls == {"encode_image": 1}


async def test_failures_are_not_kept(bench):
    ref = bench.put(fake_png())
    bench.perception.failure = CorruptMedia("Damaged.")
    with pytest.raises(CorruptMedia):
        await bench.perceiver.encode_image(ref)
    bench.perception.failure = None
    assert (await bench.perceiver.encode_image(ref))[1] == "miss"


async def test_encoders_that_do_not_answer(tmp_path):
    bench = Bench(tmp_path, perception_timeout_seconds=0.05)
    bench.perception.wait = asyncio.Event()
    with pytest.raises(PerceptionTimeout):
        await bench.perceiver.encode_image(bench.put(fake_png()))


async def test_all_of_cancels_the_others_and_raises_the_first_failure_itself():
    cancelled = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await all_of([waits(), fails(), waits()])
    assert cancelled.is_set()
    assert await all_of([]) == []


async def test_an_artifact_that_cannot_be_read_is_computed_again(bench, monkeypatch):
    ref = bench.put(fake_png())
    with monkeypatch.context() as older:
        older.setattr("serving.perception_tasks.encode_artifact", lambda artifact: b"of another time")
        with pytest.raises(msgspec.MsgspecError):
            await bench.perceiver.encode_image(ref)
    for perceiver in (bench.perceiver, bench.restarted()):
        image, tier = await perceiver.encode_image(ref)
        assert image.labels[0].text == "cat"
        assert tier == ("miss" if perceiver is bench.perceiver else "store")
    assert bench.perception.calls == {"encode_image": 2}


async def test_other_limits_reach_media_that_are_known(bench):
    ref = bench.put(fake_png())
    await bench.perceiver.probe(ref)
    await bench.restarted().probe(ref)
    assert bench.perception.calls == {"probe": 1}
    await bench.restarted(decoding=DecodeLimits(max_pixels=1000)).probe(ref)
    assert bench.perception.calls == {"probe": 2}


async def test_texts_are_embedded_once(bench):
    texts = ("a cat", "a dog", "a cat")
    first = await bench.perceiver.embed_texts("default", texts)
    assert first.token_counts == (2, 2, 2)
    again = await bench.perceiver.embed_texts("default", ("a dog", "a cat"))
    np.testing.assert_array_equal(again.vectors, first.vectors[[1, 0]])
    assert bench.perception.calls == {"embed_texts": 1}
    assert bench.perception.embedded == ["a cat", "a dog"]
    await bench.perceiver.embed_texts("default", ("a cat", "a bird"))
    assert bench.perception.embedded == ["a cat", "a dog", "a bird"]
    await bench.perceiver.embed_texts("someone-else", ("a cat",))  # tenants share nothing
    assert bench.perception.embedded[3:] == ["a cat"]
    many = await bench.perceiver.embed_texts("default", tuple(f"text {n}" for n in range(100)))
    assert many.vectors.shape == (100, 384)


async def test_texts_wait_no_longer_than_the_limit(tmp_path):
    bench = Bench(tmp_path, perception_timeout_seconds=0.05)
    bench.perception.wait = asyncio.Event()
    with pytest.raises(PerceptionTimeout):
        await bench.perceiver.embed_texts("default", ("a cat",))


async def test_fingerprints_and_thumbnails_are_kept(bench):
    ref = bench.put(fake_png(fingerprint="0123456789abcdef"))
    for perceiver in (bench.perceiver, bench.restarted()):
        assert await perceiver.fingerprint(ref) == "0123456789abcdef"
        assert (await perceiver.thumbnail(ref, 256)).startswith(b"\xff\xd8\xff")
    assert bench.perception.calls == {"fingerprint": 1, "thumbnail": 1}
    assert await bench.perceiver.thumbnail(ref, 128) != await bench.perceiver.thumbnail(ref, 256)
    with pytest.raises(UnsupportedMedia):
        await bench.perceiver.thumbnail(bench.put(fake_wav()), 256)
