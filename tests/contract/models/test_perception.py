"""All default models behind the deployment that serves them."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from loaded_models import JFK, page, plain
from tiny_models import photo, tiny_clip

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import CorruptMedia, ModelUnavailable, UnsupportedMedia
from encoders.types import FrameSampling, MediaKind, Quality, SeenMedium, SpeakOptions, TranscribeOptions
from serving.deployments.perception import PerceptionDeployment
from storage.config import StorageConfig
from storage.errors import MediaNotFound
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRef


class Stored:
    """Media in a store of their own."""

    def __init__(self, folder: Path) -> None:
        self.config = StorageConfig(folder / "store", folder / "spool")
        self._media = MediaStore(LocalObjectStore(self.config.root))

    def add(self, data: bytes, content_type: str = "application/octet-stream") -> MediaRef:
        return self._media.receive("tenant", io.BytesIO(data), content_type, 1 << 30)


@pytest.fixture
async def perception(models_dir: Path, tmp_path: Path) -> AsyncIterator[tuple[PerceptionDeployment, Stored]]:
    store = Stored(tmp_path)
    config = EncoderConfig(
        models_dir,
        moderation_text_model="tox-block",
        moderation_image_model="open-nsfw",
        voice_model="hibari-heart",
        text_variants=("all-minilm-l6-v2-float32",),
    )
    deployment = PerceptionDeployment(config, store.config)
    yield deployment, store
    await deployment.aclose()


@pytest.mark.models
async def test_perception(perception: tuple[PerceptionDeployment, Stored], shared_data: Path) -> None:
    from PIL import Image

    deployment, store = perception
    assert await deployment.ready()
    await deployment.check_health()

    buffer = io.BytesIO()
    Image.fromarray(page()).resize((2800, 1200)).save(buffer, "PNG")
    large = store.add(buffer.getvalue(), "image/png")
    lines = await deployment.read_text(large)
    assert [line.text for line in lines] == ["First line here", "Second line 42", "Third and last"]
    assert lines[2].box[0][1] > 700  # in pixels of the full picture
    picture = await deployment.encode_image(large)
    assert (picture.width, picture.height) == (2800, 1200)
    assert (await deployment.probe(large)).kind is MediaKind.IMAGE
    assert re.fullmatch("[0-9a-f]{16}", await deployment.fingerprint(large))
    assert Image.open(io.BytesIO(await deployment.thumbnail(large, 256))).size == (256, 110)

    film = (shared_data / "video/intel-sample-videos/car-detection.mp4").read_bytes()
    video = store.add(film, "video/mp4")
    small = Image.open(io.BytesIO(await deployment.thumbnail(video, 128)))
    assert (small.format, max(small.size)) == ("JPEG", 128)
    moments = {await deployment.thumbnail(video, 128, seconds) for seconds in (0.0, 12.5, 30.1)}
    assert {Image.open(io.BytesIO(jpeg)).size for jpeg in moments} == {small.size}
    assert len(moments) == 3
    with pytest.raises(UnsupportedMedia):
        await deployment.thumbnail(video, 128, 31.0)
    seen = await deployment.encode_video(video, FrameSampling(max_frames=4))
    assert len(seen.frames) == 4
    assert seen.duration_seconds == pytest.approx(30.16)
    times = [frame.time_seconds for frame in seen.frames]
    assert times == sorted(times)

    speech = store.add((shared_data / "speech/whisper/jfk.mp3").read_bytes(), "audio/mpeg")
    with pytest.raises(UnsupportedMedia):
        await deployment.thumbnail(speech, 128)
    assert plain((await deployment.transcribe(speech, TranscribeOptions())).text) == JFK
    with pytest.raises(UnsupportedMedia):
        await deployment.transcribe(large, TranscribeOptions())
    with pytest.raises(ModelUnavailable, match="No vision model is loaded"):
        await deployment.image_tokens(large)  # there is no bridge that would want them

    harmless, insult = await deployment.moderate_texts(("The cat sits on the mat.", "You stupid idiot!"))
    assert harmless["harassment"] < 0.2 < 0.8 < insult["harassment"]
    assert (await deployment.moderate_image(large))["sexual"] < 0.2
    assert (await deployment.moderate_video(video, FrameSampling(max_frames=2)))["sexual"] < 0.2

    begun, *segments = [part async for part in deployment.transcript_parts(speech, TranscribeOptions())]
    assert plain("".join(segment.text for segment in segments)) == JFK
    assert begun.duration_seconds == pytest.approx(11, abs=0.1)
    *sound, spoken = [part async for part in deployment.speak(SpeakOptions("One. Two. Three.", 2.0, "flac"))]
    assert len(sound) >= 3
    read_again = store.add(b"".join(sound), "audio/flac")
    # A stream says nothing of its length; the decoder finds it.
    assert len(await deployment.sound(read_again)) / 16_000 == pytest.approx(spoken.duration_seconds, abs=0.1)

    texts = tuple(f"text {index}" for index in range(75))
    embedded = await deployment.embed_texts(texts)
    alone = await deployment.embed_texts(texts[70:71])
    np.testing.assert_allclose(embedded.vectors[70], alone.vectors[0], atol=1e-5)
    assert embedded.token_counts[70:71] == alone.token_counts
    assert len(embedded.token_counts) == 75
    assert (await deployment.embed_texts(())).vectors.shape == (0, 384)
    exact = await deployment.embed_texts(texts[70:71], "all-minilm-l6-v2-float32")
    assert 0.95 < float(exact.vectors[0] @ alone.vectors[0]) < 0.99999  # the same weights, not rounded
    with pytest.raises(ModelUnavailable, match="not served here"):
        await deployment.embed_texts(texts, "all-mpnet-base-v2")


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # transformers' own
async def test_a_joint_model_of_ones_own_serves_both_sides(models_dir: Path, tmp_path: Path) -> None:
    """A CLIP checkpoint in a folder, named as vision and as text model: loaded once, one space, both qualities."""
    from PIL import Image

    own = tmp_path / "models"
    tiny_clip(own / "my-clip")
    (own / "whisper-base").symlink_to(models_dir / "whisper-base")
    config = EncoderConfig(own, vision_model="my-clip", text_model="my-clip")
    assert registry.find("my-clip", own).licence == "unknown"
    store = Stored(tmp_path)
    deployment = PerceptionDeployment(config, store.config)
    try:
        buffer = io.BytesIO()
        Image.fromarray(photo(300, 200)).save(buffer, "PNG")
        picture = store.add(buffer.getvalue(), "image/png")
        fast, best = [await deployment.encode_image(picture, quality) for quality in Quality]
        texts = await deployment.embed_texts(("a cat", "word " * 200))
        assert texts.vectors.shape[1:] == fast.embedding.shape == best.embedding.shape
        assert texts.chunk_counts[0] == 1 < texts.chunk_counts[1]
        assert not np.allclose(fast.embedding, best.embedding)
        assert len(fast.labels) == 10
        assert b'manymodal_encoder_batch_items_count{modality="image"} 2.0' in await deployment.metrics()
    finally:
        await deployment.aclose()


@pytest.mark.models
async def test_a_look_at_many_is_probe_and_encoding_of_each(
    perception: tuple[PerceptionDeployment, Stored], shared_data: Path
) -> None:
    deployment, store = perception
    photos = sorted((shared_data / "photos/coco/images").glob("*.jpg"))[:5]
    media = [store.add(photo.read_bytes(), "image/jpeg") for photo in photos]
    media.append(store.add(photos[0].read_bytes()[:500], "image/jpeg"))
    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    media.append(store.add(recording.getvalue(), "audio/wav"))
    media.append(MediaRef("file-" + "0" * 32, "tenant", "0" * 64, 3, "image/jpeg"))
    *seen, broken, sound, missing = await deployment.look(tuple(media))
    for ref, one in zip(media, seen, strict=False):
        assert isinstance(one, SeenMedium)
        assert one.info == await deployment.probe(ref)
        alone = await deployment.encode_image(ref)
        assert one.image is not None
        assert (one.image.width, one.image.height) == (alone.width, alone.height)
        np.testing.assert_array_equal(one.image.embedding, alone.embedding)
        assert one.image.labels == alone.labels
    assert isinstance(broken, CorruptMedia)
    assert isinstance(missing, MediaNotFound)
    assert isinstance(sound, SeenMedium)
    assert (sound.info.kind, sound.image) == (MediaKind.AUDIO, None)
    (small,) = await deployment.look((media[0],), min_side=100_000)
    assert isinstance(small, SeenMedium)
    assert small.image is None
