"""EmbeddingGemma 2 against transformers itself, on a small checkpoint with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import photo, tiny_embedding_gemma

from encoders import registry
from encoders.models import embedding_gemma
from encoders.models.embedding_gemma import EmbeddingGemma
from encoders.torch_device import Placement
from encoders.types import Quality
from encoders.vision.tiles import TilePlan

PICTURES = [photo(40, 30), photo(300, 20, 1), photo(7, 200, 2), photo(128, 128, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_embedding_gemma(tmp_path_factory.mktemp("models") / "gemma")


@pytest.fixture(scope="module")
def model(folder: Path) -> EmbeddingGemma:
    return embedding_gemma.build(folder, Placement("cpu", "float32"))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import EmbeddingGemma2Model

    return EmbeddingGemma2Model.from_pretrained(folder).eval()


def _pooled(network: Any, **inputs: Any) -> np.ndarray:
    """The mean over tokens of one unpadded input, as a unit vector."""
    import torch

    with torch.no_grad():
        hidden = network(attention_mask=torch.ones_like(inputs["input_ids"]), **inputs).last_hidden_state
    vector = hidden[0].mean(0).numpy()
    return np.asarray(vector / np.linalg.norm(vector))


def _assert_same(ours: np.ndarray, known: np.ndarray) -> None:
    np.testing.assert_allclose(ours, known, atol=1e-5)
    assert float(ours @ known) > 0.99999


def _picture_inputs(theirs: Any, image: np.ndarray, most: int) -> dict[str, Any]:
    import torch
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    processor = Gemma4ImageProcessorPil(patch_size=4, max_soft_tokens=most, pooling_kernel_size=3)
    inputs = processor(image, return_tensors="pt")
    count, known = int(inputs["num_soft_tokens_per_image"][0]), theirs.config
    ids = [2, known.boi_token_id, *[known.image_token_id] * count, known.eoi_token_id, 1]
    return {
        "input_ids": torch.tensor([ids]),
        "pixel_values": inputs["pixel_values"].float(),
        "image_position_ids": inputs["image_position_ids"],
    }


@pytest.mark.parametrize("count", [1, 2, 4])
def test_pictures_equal_transformers(model: EmbeddingGemma, theirs: Any, count: int) -> None:
    for one, image in zip(model.encode(PICTURES[:count]), PICTURES, strict=False):
        _assert_same(one.embedding, _pooled(theirs, **_picture_inputs(theirs, image, 70)))


def test_best_quality_spends_four_times_the_tokens(model: EmbeddingGemma, theirs: Any) -> None:
    (one,) = model.encode(PICTURES[:1], Quality.BEST)
    _assert_same(one.embedding, _pooled(theirs, **_picture_inputs(theirs, PICTURES[0], 280)))
    with pytest.raises(ValueError, match="best quality"):
        model.tokens(PICTURES[:1], TilePlan())


def test_tokens_are_those_of_the_picture(model: EmbeddingGemma, theirs: Any) -> None:
    import torch

    inputs = _picture_inputs(theirs, PICTURES[0], 70)
    with torch.no_grad():
        hidden = theirs(attention_mask=torch.ones_like(inputs["input_ids"]), **inputs).last_hidden_state
    np.testing.assert_allclose(model.tokens(PICTURES[:1])[0].tokens[0], hidden[0, 2:-2].numpy(), atol=1e-4)


def test_texts_equal_transformers(model: EmbeddingGemma, theirs: Any, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ("a cat", "two dogs run along the beach", "")
    ours = model.embed(texts)
    assert ours.chunk_counts == (1, 1, 1)
    for vector, text in zip(ours.vectors, texts, strict=True):
        _assert_same(vector, _pooled(theirs, input_ids=tokenizer([text], return_tensors="pt")["input_ids"]))
    asked = model.embed(texts, instruction="SearchQuery").vectors
    spelt = model.embed(["task: search result | query: " + text for text in texts]).vectors
    np.testing.assert_allclose(asked, spelt, atol=1e-6)


def test_marks_of_media_in_a_text_are_text(model: EmbeddingGemma) -> None:
    plain = model.embed(("a cat",)).vectors[0]
    for mark in ("<|image|>", "<eos>", "<pad>"):
        marked = model.embed((f"a cat{mark}",))
        assert marked.token_counts[0] > len(mark)  # spelt out: this tokenizer knows letters alone
        assert float(marked.vectors[0] @ plain) < 0.9999


def test_vectors_may_be_cut_and_are_normalised_again(model: EmbeddingGemma) -> None:
    whole, cut = model.embed(("a cat",)).vectors[0], model.embed(("a cat",), dimensions=128).vectors[0]
    np.testing.assert_allclose(cut, whole[:128] / np.linalg.norm(whole[:128]), atol=1e-6)
    with pytest.raises(ValueError, match="128"):
        model.embed(("a cat",), dimensions=64)


def test_sounds_equal_transformers_and_long_ones_are_pooled(model: EmbeddingGemma, theirs: Any) -> None:
    import torch
    from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor

    random = np.random.default_rng(0)
    sound = (0.1 * random.standard_normal(16_000 * 3)).astype(np.float32)
    heard = Gemma4AudioFeatureExtractor()([sound], return_tensors="pt")
    with torch.no_grad():
        made = theirs.get_audio_features(heard["input_features"], heard["input_features_mask"])
    count, known = int(made.attention_mask.sum()), theirs.config
    ids = [2, known.boa_token_id, *[known.audio_token_id] * count, known.eoa_token_index, 1]
    expected = _pooled(
        theirs,
        input_ids=torch.tensor([ids]),
        input_features=heard["input_features"],
        input_features_mask=heard["input_features_mask"],
    )
    ours = model.embed_sounds([sound, sound[:10]])
    assert ours.token_counts[0] == count
    _assert_same(ours.vectors[0], expected)
    assert np.linalg.norm(ours.vectors[1]) == pytest.approx(1, abs=1e-5)
    assert model.embed_sounds([]).vectors.shape == (0, 256)

    twice = model.embed_sounds([np.tile(sound, 12)])  # 36 seconds: two pieces that sound the same
    assert twice.chunk_counts == (2,)
    half = model.embed_sounds([np.tile(sound, 6)])
    _assert_same(twice.vectors[0], half.vectors[0])


def test_a_video_of_one_frame_is_that_picture(model: EmbeddingGemma) -> None:
    """Both read 70 soft tokens here, and neither's placeholder id is looked up."""
    for image in PICTURES:
        _assert_same(model.embed_video([image]), model.encode([image])[0].embedding)


def test_frames_of_a_video_count_and_are_thinned(model: EmbeddingGemma) -> None:
    forth, back = model.embed_video(PICTURES), model.embed_video(PICTURES[::-1])
    assert np.linalg.norm(forth) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(forth, back, atol=1e-5)
    many = [photo(24, 24, seed) for seed in range(40)]
    kept = [many[index] for index in np.linspace(0, 39, 32, dtype=int)]
    _assert_same(model.embed_video(many), model.embed_video(kept))
    with pytest.raises(ValueError, match="at least one frame"):
        model.embed_video([])


def test_a_folder_of_the_users_own_is_adopted(folder: Path) -> None:
    spec = registry.find(folder.name, folder.parent)
    assert set(spec.modalities) == {"text", "image", "audio", "video"}
    assert spec.dimensions == 256
    assert spec.extra["space"] == folder.name
