"""Tokens for a bridge from the deployment that serves all encoders: pictures, videos and sound."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from tiny_blip2 import tiny_blip2
from tiny_models import photo, tiny_clip

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable, UnsupportedMedia
from encoders.types import FrameSampling
from encoders.vision.encoder import TokenEncoder, vision_of
from encoders.vision.tiles import TilePlan
from serving.deployments.perception import PerceptionDeployment
from storage.config import StorageConfig
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRef

pytestmark = pytest.mark.models

_PREPARED = ("efficientnet-lite2", "whisper-base", "all-minilm-l6-v2")


class Stored:
    """Media in a store of their own."""

    def __init__(self, folder: Path) -> None:
        self.config = StorageConfig(folder / "store", folder / "spool")
        self._media = MediaStore(LocalObjectStore(self.config.root))

    def add(self, data: bytes, content_type: str) -> MediaRef:
        return self._media.receive("tenant", io.BytesIO(data), content_type, 1 << 30)

    def picture(self, width: int, height: int, seed: int = 0) -> MediaRef:
        buffer = io.BytesIO()
        Image.fromarray(photo(width, height, seed)).save(buffer, "PNG")
        return self.add(buffer.getvalue(), "image/png")


@pytest.fixture(scope="module")
def models(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.mktemp("models")
    for name in _PREPARED:
        (own / name).symlink_to(models_dir / name)
    tiny_blip2(own / "blip", "opt")
    tiny_clip(own / "clip")
    return own


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def perception(
    models: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[PerceptionDeployment, Stored]]:
    store = Stored(tmp_path_factory.mktemp("stored"))
    deployment = PerceptionDeployment(EncoderConfig(models, token_model="blip"), store.config)
    yield deployment, store
    await deployment.aclose()


@pytest.fixture(scope="module")
def tower(models: Path) -> TokenEncoder:
    loaded = vision_of(registry.load("blip", EncoderConfig(models)))
    assert isinstance(loaded, TokenEncoder)
    return loaded


@pytest.mark.asyncio(loop_scope="module")
async def test_tokens_of_many_pictures_at_once_are_those_of_each(
    perception: tuple[PerceptionDeployment, Stored], tower: TokenEncoder
) -> None:
    deployment, store = perception
    sizes = [(80, 60), (60, 80), (200, 50), (90, 90), (300, 200)]
    wanted = [1, 3, 1, 4, 2]
    media = [store.picture(*size, seed) for seed, size in enumerate(sizes)]
    found = await asyncio.gather(
        *(deployment.image_tokens(one, views) for one, views in zip(media, wanted, strict=True))
    )
    for seed, (size, views, tokens) in enumerate(zip(sizes, wanted, found, strict=True)):
        expected = tower.tokens([photo(*size, seed)], TilePlan(max_tiles=views - 1))[0].tokens
        assert len(tokens.boxes) == len(tokens.tokens) - 1 < views
        np.testing.assert_allclose(tokens.tokens, expected, atol=1e-5)
    assert b'modality="image tokens"' in await deployment.metrics()


@pytest.mark.asyncio(loop_scope="module")
async def test_tokens_of_a_video_and_of_its_sound(
    perception: tuple[PerceptionDeployment, Stored], shared_data: Path, tower: TokenEncoder
) -> None:
    deployment, store = perception
    film = store.add((shared_data / "video/torchcodec/nasa_13013.mp4").read_bytes(), "video/mp4")
    sampling = FrameSampling(max_frames=3)
    seen, shown = await asyncio.gather(
        deployment.video_tokens(film, sampling), deployment.film(film, sampling)
    )
    assert (seen.times_seconds, seen.reasons) == (shown.times_seconds, shown.reasons)
    assert seen.duration_seconds == shown.duration_seconds
    assert seen.tokens.shape == (len(shown.frames), 17, 64)
    for tokens, frame in zip(seen.tokens, shown.frames, strict=True):
        np.testing.assert_allclose(tokens, tower.tokens([frame])[0].tokens[0], atol=1e-5)

    heard = await deployment.audio_tokens(film)
    sound = await deployment.sound(film)
    assert heard.tokens.shape[1] == 512
    assert len(heard.tokens) == pytest.approx(len(sound) / 16_000 / heard.seconds_per_token, abs=1)
    assert np.linalg.norm(heard.pooled) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UnsupportedMedia):
        await deployment.audio_tokens(store.picture(40, 40))


async def test_one_model_for_both_is_loaded_once(models: Path, tmp_path: Path) -> None:
    store = Stored(tmp_path)
    config = EncoderConfig(models, vision_model="clip", text_model="clip", token_model="clip")
    deployment = PerceptionDeployment(config, store.config)
    try:
        media = store.picture(64, 64)
        tokens, encoded = await asyncio.gather(deployment.image_tokens(media), deployment.encode_image(media))
        assert tokens.tokens.shape == (1, 16, 32)  # without a class token
        assert encoded.embedding.shape == (24,)
    finally:
        await deployment.aclose()


def test_a_model_without_patch_tokens_cannot_give_them(models: Path, tmp_path: Path) -> None:
    config, before = EncoderConfig(models, token_model="efficientnet-lite2"), threading.enumerate()
    with pytest.raises(ModelUnavailable, match="choose a vision transformer"):
        PerceptionDeployment(config, Stored(tmp_path).config)
    left = [one for one in threading.enumerate() if one not in before]
    assert not [one for one in left if one.name.startswith("media-decoder")]
