"""What every model file promises, held against the real models (marked ``models``)."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import UnsupportedMedia
from encoders.types import (
    EncodedImage,
    FrameSampling,
    MediaKind,
    ModelSpec,
    TranscribeOptions,
)
from serving.deployments.perception import PerceptionDeployment
from storage.config import StorageConfig
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.types import MediaRef

SPECS = registry.specs()


def of_task(task: str) -> list[ModelSpec]:
    return [spec for spec in SPECS if spec.task == task]


@cache
def loaded(name: str, models_dir: Path) -> Any:
    return registry.load(name, EncoderConfig(models_dir))


def each(task: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("spec", of_task(task), ids=lambda spec: spec.name)


# -- every spec -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_spec_is_complete(spec: ModelSpec) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", spec.name)
    assert spec.task in {"vision", "speech", "text", "ocr", "chat"}
    assert set(spec.modalities) <= {"text", "image", "audio", "video"}
    assert spec.licence
    assert spec.revision
    assert spec.preprocessing
    assert spec.packages
    assert spec.extra["files"]
    json.dumps(spec.extra)  # shown by `manymodal models`
    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301 - our own bytes


@pytest.mark.models
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_weights_resolve(spec: ModelSpec, models_dir: Path) -> None:
    found = registry.resolve(spec, models_dir)
    assert found.ready, found.advice
    folder = registry.find_directory(spec, models_dir)
    assert not [path for path in folder.rglob("*") if path.suffix in {".pth", ".pt", ".pkl", ".pickle"}]


# -- text -------------------------------------------------------------------------------------------------

SENTENCES = (
    "a photo of a cat",
    "Two dogs play in the snow near a river while the sun goes down behind the hills.",
    "",
    "dogs playing outside in winter",
    "Ünïcödé, 漢字 and 🙂",
    "word " * 600,
)


@pytest.mark.models
@each("text")
def test_text_embeddings(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    together = model.embed(SENTENCES)
    assert together.vectors.dtype == np.float32
    assert together.vectors.shape == (len(SENTENCES), spec.dimensions)
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1, atol=1e-5)
    alone = [model.embed((text,)) for text in SENTENCES]
    np.testing.assert_allclose(together.vectors, np.concatenate([one.vectors for one in alone]), atol=1e-5)
    assert together.token_count == sum(one.token_count for one in alone)
    assert alone[-1].token_count == spec.extra["max_tokens"]  # cut
    similar = together.vectors @ together.vectors.T
    assert similar[1, 3] > similar[1, 0] + 0.2


@pytest.mark.models
@each("text")
def test_text_requests_are_kept_apart(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    requests = [SENTENCES[:2], (), SENTENCES[2:5], tuple(f"number {index}" for index in range(70))]
    for request, answer in zip(requests, model.embed_many(requests), strict=True):
        expected = model.embed(request)
        np.testing.assert_allclose(answer.vectors, expected.vectors, atol=1e-5)
        assert answer.token_count == expected.token_count
    assert model.embed(()).vectors.shape == (0, spec.dimensions)


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_minilm_equals_transformers_bert(models_dir: Path) -> None:
    """The reference is transformers' BertModel, mean-pooled as sentence-transformers defines this model."""
    import torch
    from transformers import AutoTokenizer, BertModel

    from encoders.models import minilm

    folder = registry.find_directory(minilm.SPEC, models_dir)
    bert = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(SENTENCES), padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = bert(**batch).last_hidden_state
    kept = batch["attention_mask"].unsqueeze(-1)
    expected = torch.nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=1).numpy()
    actual = loaded(minilm.SPEC.name, models_dir).embed(SENTENCES)
    np.testing.assert_allclose(actual.vectors, expected, atol=1e-5)
    assert actual.token_count == int(batch["attention_mask"].sum())


# -- vision -----------------------------------------------------------------------------------------------


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(260, 260), (100, 300), (300, 100), (1, 1), (768, 512)]
    return [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.models
@each("vision")
def test_picture_embeddings(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    images = pictures(7)
    together = model.encode(images)
    for image, one, same in zip(
        images, together, (model.encode([image])[0] for image in images), strict=True
    ):
        assert isinstance(one, EncodedImage)
        assert (one.height, one.width) == image.shape[:2]
        assert one.embedding.dtype == np.float32
        assert one.embedding.shape == (spec.dimensions,)
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(one.embedding, same.embedding, atol=1e-4)
        probabilities = [label.probability for label in one.labels]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1 + 1e-6
        assert len({label.text for label in one.labels}) == len(one.labels) == 10
    assert model.encode([]) == ()


@pytest.mark.models
@each("vision")
def test_sentences_find_photos(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    """Text-to-image recall on 51 COCO photos (chance: 0.02, 0.10, 0.20); measured 0.44, 0.78, 0.88."""
    from PIL import Image

    vision = loaded(spec.name, models_dir)
    text = loaded(spec.extra["space"], models_dir)
    folder = shared_data / "photos/coco"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    photos = [
        np.asarray(Image.open(folder / "images" / Path(row["file"]).name).convert("RGB")) for row in rows
    ]
    places = np.stack([one.embedding for one in vision.encode(photos)])
    captions = [(index, caption) for index, row in enumerate(rows) for caption in row["captions"]]
    scores = text.embed(tuple(caption for _, caption in captions)).vectors @ places.T
    own = scores[np.arange(len(captions)), [index for index, _ in captions]]
    rank = (scores > own[:, None]).sum(1)
    recall = [float((rank < k).mean()) for k in (1, 5, 10)]
    assert recall[0] > 0.38, recall
    assert recall[1] > 0.72, recall
    assert recall[2] > 0.82, recall


# -- speech -----------------------------------------------------------------------------------------------

JFK = (
    "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
)


def jfk(shared_data: Path) -> np.ndarray:
    from encoders.config import DecodeLimits
    from encoders.decoding.audio import decode_audio
    from encoders.decoding.sniff import sniff

    data = (shared_data / "speech/whisper/jfk.flac").read_bytes()
    return decode_audio(data, sniff(data), DecodeLimits())


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


@pytest.mark.models
@each("speech")
def test_speech_with_times(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    transcript = loaded(spec.name, models_dir).transcribe(jfk(shared_data), TranscribeOptions())
    assert plain(transcript.text) == JFK
    assert transcript.language == "en"
    assert transcript.duration_seconds == pytest.approx(11.0)
    words = [word for segment in transcript.segments for word in segment.words]
    assert plain("".join(word.text for word in words)) == JFK
    times = [time for word in words for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert times[-1] <= 11.5
    assert all(0 <= word.probability <= 1 for word in words)
    # By the recording's energy the phrases lie at 5.4-7.6 and 8.2-10.4 seconds. (Whisper stretches the word
    # before or after a pause over it, so pauses themselves prove nothing.)
    middles = [(word.start_seconds + word.end_seconds) / 2 for word in words]
    first, second = (time for time, word in zip(middles, words, strict=True) if "country" in word.text)
    assert 5.4 < first < 7.6
    assert 8.8 < second < 10.6
    assert all(segment.tokens and segment.average_log_probability < 0 for segment in transcript.segments)
    assert pickle.loads(pickle.dumps(transcript)) == transcript  # noqa: S301 - our own bytes


@pytest.mark.models
@each("speech")
def test_silence_and_nothing_give_no_words(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    for count in (0, 1, 16000 * 5):
        transcript = model.transcribe(np.zeros(count, dtype=np.float32), TranscribeOptions())
        assert transcript.segments == ()
        assert transcript.duration_seconds == count / 16000
    noise = np.random.default_rng(0).normal(0, 0.003, 16000 * 5).astype(np.float32)
    assert model.transcribe(noise, TranscribeOptions()).text == ""


@pytest.mark.models
@each("speech")
def test_speech_options(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    model = loaded(spec.name, models_dir)
    options = TranscribeOptions(language="en", prompt="A speech by John F. Kennedy.", temperature=0.2)
    transcript = model.transcribe(jfk(shared_data), options)
    assert "fellow" in transcript.text
    assert transcript.segments[0].temperature == pytest.approx(0.2)
    with pytest.raises(UnsupportedMedia, match="ISO-639-1"):
        model.transcribe(np.zeros(16000, dtype=np.float32), TranscribeOptions(language="klingon"))


# -- reading ----------------------------------------------------------------------------------------------


def page() -> np.ndarray:
    import cv2

    image = np.full((300, 700, 3), 255, dtype=np.uint8)
    for index, text in enumerate(("First line here", "Second line 42", "Third and last")):
        cv2.putText(image, text, (40, 80 + 80 * index), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3)
    return image


@pytest.mark.models
@each("ocr")
def test_lines_in_reading_order(spec: ModelSpec, models_dir: Path) -> None:
    lines = loaded(spec.name, models_dir).read(page())
    assert [line.text for line in lines] == ["First line here", "Second line 42", "Third and last"]
    for index, line in enumerate(lines):
        assert 0.5 <= line.confidence <= 1
        assert len(line.box) == 4
        middle = sum(y for _, y in line.box) / 4
        assert middle == pytest.approx(62 + 80 * index, abs=15)
        assert line.box[0][0] < line.box[1][0]
        assert line.box[0][1] < line.box[3][1]


@pytest.mark.models
@each("ocr")
def test_pictures_without_text(spec: ModelSpec, models_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = loaded(spec.name, models_dir)
    for height, width in ((200, 300), (1, 1), (3, 900), (1600, 12), (12, 1600)):
        assert model.read(np.full((height, width, 3), 200, dtype=np.uint8)) == ()
    assert capfd.readouterr() == ("", "")  # it likes to warn


# -- chat -------------------------------------------------------------------------------------------------


@pytest.mark.models
@each("chat")
def test_chat_weights_are_ready_for_the_engine(spec: ModelSpec, models_dir: Path) -> None:
    from safetensors import safe_open
    from tokenizers import Tokenizer

    folder = registry.find_directory(spec, models_dir)
    with safe_open(folder / "model.safetensors", "np") as weights:
        names = list(weights.keys())
        sizes = [int(np.prod(weights.get_slice(name).get_shape())) for name in names]
        assert {weights.get_slice(name).get_dtype() for name in names} == {"F32"}
    assert sum(sizes) == spec.extra["parameters"]
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == spec.extra["context_tokens"]
    sampling = json.loads((folder / "generation_config.json").read_text())
    assert (sampling["do_sample"], sampling["temperature"], sampling["top_p"]) == (True, 0.2, 0.9)
    assert "<|im_start|>assistant" in (folder / "chat_template.jinja").read_text()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("<|im_start|>").ids == [config["bos_token_id"]]
    assert tokenizer.encode("   123").tokens == ["ĠĠĠ", "1", "2", "3"]
    assert tokenizer.decode(tokenizer.encode("Hällo 漢字 🙂").ids) == "Hällo 漢字 🙂"


# -- all together -----------------------------------------------------------------------------------------


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
    deployment = PerceptionDeployment(EncoderConfig(models_dir), store.config)
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

    texts = tuple(f"text {index}" for index in range(75))
    embedded = await deployment.embed_texts(texts)
    alone = await deployment.embed_texts(texts[70:71])
    np.testing.assert_allclose(embedded.vectors[70], alone.vectors[0], atol=1e-5)
    assert embedded.token_counts[70:71] == alone.token_counts
    assert len(embedded.token_counts) == 75
    assert (await deployment.embed_texts(())).vectors.shape == (0, 384)
