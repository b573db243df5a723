"""What every vision encoder promises, held against the real models."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from loaded_models import each, loaded

from encoders.types import EncodedImage, ModelSpec, Quality
from encoders.vision.encoder import VisionEncoder


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(260, 260), (100, 300), (300, 100), (1, 1), (768, 512)]
    return [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.models
@pytest.mark.parametrize("quality", list(Quality))
@each("vision")
def test_picture_embeddings(spec: ModelSpec, models_dir: Path, quality: Quality) -> None:
    model = loaded(spec.name, models_dir)
    images = pictures(7)
    together = model.encode(images, quality)
    assert len(together) == len(images)
    for image, one in zip(images, together, strict=True):
        (same,) = model.encode([image], quality)
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
    assert model.encode([], quality) == ()


@pytest.mark.models
@each("vision")
def test_batches_of_both_qualities_are_what_encode_gives(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    images = pictures(5)
    for quality in Quality:
        side = model.at(quality)
        assert isinstance(side, VisionEncoder)
        prepared = side.prepare(images)
        assert len(prepared) == len(images)
        assert all(side.cost(one) > 0 for one in prepared)
        for one, expected in zip(prepared, model.encode(images, quality), strict=True):
            hash(side.bucket(one))
            (found,) = side.run([one])
            np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-4)
    assert sum(map(model.at(Quality.BEST).cost, model.at(Quality.BEST).prepare(images))) > sum(
        map(model.at(Quality.FAST).cost, model.at(Quality.FAST).prepare(images))
    )


@pytest.mark.models
@each("vision")
def test_threads_do_not_disturb_each_other(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    images = pictures(4)
    expected = [model.encode(images, quality) for quality in Quality]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda quality: model.encode(images, quality), list(Quality) * 4))
    for index, one in enumerate(found):
        for a, b in zip(one, expected[index % len(Quality)], strict=True):
            np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-4)


@pytest.mark.models
@pytest.mark.parametrize(
    ("quality", "least"), [(Quality.FAST, (0.45, 0.84, 0.90)), (Quality.BEST, (0.52, 0.84, 0.91))]
)
@each("vision")
def test_sentences_find_photos(
    spec: ModelSpec, models_dir: Path, shared_data: Path, quality: Quality, least: tuple[float, ...]
) -> None:
    """Text-to-image recall on 51 COCO photos (chance: 0.02, 0.10, 0.20).

    The default model: fast 0.51, 0.88, 0.94, best 0.58, 0.89, 0.945; "least" is two standard errors below.
    """
    from PIL import Image

    vision = loaded(spec.name, models_dir)
    text = loaded(spec.extra["space"], models_dir)
    folder = shared_data / "photos/coco"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    photos = [
        np.asarray(Image.open(folder / "images" / Path(row["file"]).name).convert("RGB")) for row in rows
    ]
    places = np.stack([one.embedding for one in vision.encode(photos, quality)])
    captions = [(index, caption) for index, row in enumerate(rows) for caption in row["captions"]]
    scores = text.embed(tuple(caption for _, caption in captions)).vectors @ places.T
    own = scores[np.arange(len(captions)), [index for index, _ in captions]]
    rank = (scores > own[:, None]).sum(1)
    recall = [float((rank < k).mean()) for k in (1, 5, 10)]
    assert all(found > bound for found, bound in zip(recall, least, strict=True)), recall
