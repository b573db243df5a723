"""The platform that ``benchmarks.simulation`` compares the simulator with: the real application on uvicorn, with
its real queues and micro-batchers, in front of stand-ins whose models only sleep.

``python -m benchmarks.simulated_server PORT DATA_DIR TIMES``: TIMES is JSON, service times as the simulator has
them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Hashable, Sequence
from pathlib import Path

import uvicorn

from benchmarks.fake_encoders import FakeEncoders
from benchmarks.fake_engine import FakeEngine, Pace
from deploy.settings import load_settings
from deploy.simulation.service_times import DecoderTimes, EncoderTimes, KnownTimes
from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import BatchLimits, EncoderConfig
from encoders.types import (
    EncodedImage,
    EncodedVideo,
    FrameSampling,
    Quality,
    TranscribeOptions,
    Transcript,
)
from serving.app import create_app
from serving.config import EngineConfig
from serving.deployments.search import SearchDeployment
from serving.services import Services
from storage.assembly import open_storage
from storage.config import StorageConfig
from storage.types import MediaRef

__all__ = ["PROMPT_TOKENS", "VIDEO_FRAMES"]

PROMPT_TOKENS = 20
VIDEO_FRAMES = 8


class BatchingEngine(FakeEngine):
    """Numbered tokens from one loop of steps, each as long as ``DecoderTimes`` says for what is in it."""

    def __init__(self, config: EngineConfig, times: DecoderTimes) -> None:
        super().__init__(config, Pace(tokens=4096))
        self._times = times
        self._waiting: deque[_Stream] = deque()
        self._stepping: asyncio.Task[None] | None = None

    async def _words(self, tokens: int) -> AsyncGenerator[str, None]:
        stream = _Stream(tokens)
        self._waiting.append(stream)
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.create_task(self._steps())
        try:
            for number in range(tokens):
                await stream.made.get()
                yield f"{number} "
        finally:
            stream.left = 0

    async def _steps(self) -> None:
        loop = asyncio.get_running_loop()
        running: list[_Stream] = []
        due = loop.time()
        while running or self._waiting:
            begun = list[_Stream]()
            while self._waiting and len(running) + len(begun) < self._times.max_streams:
                begun.append(self._waiting.popleft())
            due += self._times.step_seconds(len(running), 0, len(begun) * PROMPT_TOKENS)
            await asyncio.sleep(
                max(0.0, due - loop.time())
            )  # held to the clock: what was late is made up for
            running += begun
            for stream in running:
                stream.left -= 1
                stream.made.put_nowait(None)
            running = [stream for stream in running if stream.left > 0]


class _Stream:
    def __init__(self, tokens: int) -> None:
        self.left = tokens
        self.made: asyncio.Queue[None] = asyncio.Queue()


class _Sleeper:
    """A ``BatchEncoder`` that takes the time of a model."""

    def __init__(self, times: EncoderTimes) -> None:
        self._times = times

    def prepare(self, items: Sequence[int]) -> list[int]:
        return list(items)

    def bucket(self, prepared: int) -> Hashable:
        return 0

    def cost(self, prepared: int) -> int:
        return 1

    def run(self, batch: Sequence[int]) -> list[int]:
        time.sleep(self._times.batch_seconds(len(batch)))
        return list(batch)


class BatchingEncoders(FakeEncoders):
    """Pictures, frames and clips wait for sleeping models behind the real micro-batchers."""

    def __init__(
        self, config: EncoderConfig, storage: StorageConfig, vision: EncoderTimes, speech: EncoderTimes
    ) -> None:
        super().__init__(config, storage, Pace(encode_seconds=0.0))
        self._vision = MicroBatcher(
            _Sleeper(vision), BatchLimits(max_items=vision.max_items, max_queued=4096)
        )
        self._speech = MicroBatcher(
            _Sleeper(speech), BatchLimits(max_items=speech.max_items, max_queued=4096)
        )

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        await self._vision.submit((0,))
        return await super().encode_image(media, quality)

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        await self._vision.submit(range(VIDEO_FRAMES))
        return await super().encode_video(media, sampling)

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        await self._speech.submit((0,))
        return await super().transcribe(media, options)


def main() -> None:
    """Serve until a signal ends it."""
    port, data_dir = int(sys.argv[1]), Path(sys.argv[2])
    times = KnownTimes.model_validate(json.loads(sys.argv[3]))
    decoder = times.decoders["standin"]
    settings = load_settings(
        {
            "port": port,
            "data_dir": data_dir,
            "chat": {"read_pictures": False, "max_streams": decoder.max_streams},
        }
    )
    storage, config = settings.storage_config(), settings.gateway_config()
    services = Services(
        perception=BatchingEncoders(
            settings.encoder_config(), storage, times.encoders["vision"], times.encoders["speech"]
        ),
        search=SearchDeployment(settings.search_config()),
        engine=BatchingEngine(settings.engine_config(), decoder),
    )
    app = create_app(services, open_storage(storage, config.cache_secret), config)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
