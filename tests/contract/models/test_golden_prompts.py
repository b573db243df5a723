"""What the text path writes of fixed media is held to the letter, from their bytes through the real encoders."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from golden_media import GOLDEN

from deploy.demo.samples import make_samples
from encoders.config import EncoderConfig
from encoders.types import FrameSampling, MediaKind, SamplingMethod, TranscribeOptions
from fusion.config import FusionConfig
from fusion.text import TextFusion
from fusion.timeline import timeline_of
from fusion.types import PerceivedMedium
from serving.deployments.perception import PerceptionDeployment
from serving.token_counter import token_counter
from storage.config import StorageConfig
from storage.local import LocalObjectStore
from storage.media import MediaStore

pytestmark = pytest.mark.models


@dataclass(frozen=True)
class Eyes:
    """The real encoders, as the gateway's text strategy asks them."""

    perception: PerceptionDeployment
    media: MediaStore

    async def perceive(self, path: Path, sampling: FrameSampling) -> PerceivedMedium:
        data = await asyncio.to_thread(path.read_bytes)
        medium = self.media.receive("tenant", io.BytesIO(data), "application/octet-stream", 1 << 30)
        info = await self.perception.probe(medium)
        still = info.kind is MediaKind.IMAGE
        return PerceivedMedium(
            medium.id,
            info,
            image=await self.perception.encode_image(medium) if still else None,
            text_lines=await self.perception.read_text(medium) if still else (),
            video=await self.perception.encode_video(medium, sampling)
            if info.kind is MediaKind.VIDEO
            else None,
            transcript=await self.perception.transcribe(medium, TranscribeOptions())
            if info.has_audio
            else None,
        )


@pytest.fixture
async def eyes(models_dir: Path, tmp_path: Path) -> AsyncIterator[Eyes]:
    storage = StorageConfig(tmp_path / "store", tmp_path / "spool")
    perception = PerceptionDeployment(EncoderConfig(models_dir), storage)
    yield Eyes(perception, MediaStore(LocalObjectStore(storage.root)))
    await perception.aclose()


async def test_golden_prompts(eyes: Eyes, shared_data: Path, tmp_path: Path) -> None:
    samples = make_samples(tmp_path / "samples")
    fusion = TextFusion(FusionConfig(), token_counter(None))
    for golden in GOLDEN.values():
        seen = await eyes.perceive(golden.path(samples, shared_data), FrameSampling())
        assert fusion.fuse([seen])[0].text == golden.prompt(), golden.name

    # Each sentence is said while its photo is on screen; key frames are too few here to tell when that ends.
    for method in (SamplingMethod.UNIFORM, SamplingMethod.FPS, SamplingMethod.SCENE):
        sampling = FrameSampling(method, frames_per_second=0.5)
        film = await eyes.perceive(samples.video, sampling)
        timeline = timeline_of(film)
        for photo, words in (("coffee", "wooden table"), ("cat", "long whiskers"), ("rocket", "launch pad")):
            (moment,) = timeline.while_said(words)
            shot = samples.stretch(photo)
            assert shot.start_seconds < moment.start_seconds < moment.end_seconds < shot.end_seconds, method
            assert len(moment.shots) == 1, (method, words, moment)
            assert moment.shots[0].start_seconds == pytest.approx(shot.start_seconds, abs=1.1), method
            assert moment.shots[0].end_seconds == pytest.approx(shot.end_seconds, abs=1.1), method
            assert words in " ".join(said.text for said in timeline.while_shown(moment.shots[0].frames))
