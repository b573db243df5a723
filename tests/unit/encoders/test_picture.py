"""Perceptual hashes tell copies from other pictures; thumbnails are small JPEGs of something to see."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from encoders.picture import brightest_enough, perceptual_hash, small_jpeg


def scene(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """Soft random patches: a picture with content in the low frequencies, as photos have."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def hashed(image: Image.Image) -> str:
    return perceptual_hash(np.asarray(image))


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: image.resize((160, 120)),
        lambda image: image.resize((1280, 960)),
        recompressed,
        lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    ],
    ids=["smaller", "larger", "recompressed", "brighter"],
)
def test_copies_are_near(copy):
    for seed in range(5):
        picture = scene(seed)
        assert bits(hashed(picture), hashed(copy(picture))) <= 6


def test_other_pictures_are_far():
    hashes = [hashed(scene(seed)) for seed in range(20)]
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in hashes)
    assert len(set(hashes)) == 20
    assert min(bits(a, b) for n, a in enumerate(hashes) for b in hashes[:n]) > 10


def test_real_photos(shared_data):
    photos = sorted((shared_data / "photos").rglob("*.jpg"))[:8]
    pictures = [Image.open(path).convert("RGB") for path in photos]
    for number, picture in enumerate(pictures):
        copy = recompressed(picture.resize((max(1, picture.width // 3), max(1, picture.height // 3))))
        distances = [bits(hashed(copy), hashed(other)) for other in pictures]
        assert distances[number] <= 8
        assert min(distances) == distances[number]


def test_tiny_and_flat_pictures_have_hashes():
    for size in ((1, 1), (3, 500)):
        assert len(hashed(Image.new("RGB", size, (9, 9, 9)))) == 16


def test_thumbnails():
    small = Image.open(io.BytesIO(small_jpeg(np.asarray(scene(1)), 256)))
    assert (small.format, small.size) == ("JPEG", (256, 192))
    tiny = Image.open(io.BytesIO(small_jpeg(np.asarray(scene(1, 20, 10)), 256)))
    assert tiny.size == (20, 10)


def test_a_black_beginning_is_passed_over():
    def grey(value: int) -> np.ndarray:
        return np.full((4, 4, 3), value, np.uint8)

    assert brightest_enough([grey(0), grey(90), grey(200)])[0, 0, 0] == 90
    assert brightest_enough([grey(1), grey(9), grey(2)])[0, 0, 0] == 9
