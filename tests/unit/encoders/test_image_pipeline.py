"""Pictures become files within a number of bytes: quality first, size second, never enlarged."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.errors import CorruptMedia, MediaTooLarge
from encoders.image_pipeline import CompressedImage, CompressionTarget, compress, normalised, resized

TYPES = ("image/jpeg", "image/webp", "image/png")


def photo(width: int = 320, height: int = 240, noise: int = 12) -> np.ndarray:
    """Soft patches with some grain: compresses like a photo."""
    dice = np.random.default_rng(width * height)
    patches = Image.fromarray(dice.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = dice.integers(-noise, noise + 1, smooth.shape)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def opened(file: CompressedImage) -> Image.Image:
    image = Image.open(io.BytesIO(file.data))
    assert (f"image/{image.format.lower()}", image.size) == (file.media_type, (file.width, file.height))
    return image.convert("RGB")


@pytest.mark.parametrize("media_type", TYPES)
def test_without_limits_nothing_is_lost_but_what_the_format_loses(media_type):
    pixels = photo()
    file = compress(pixels, CompressionTarget(media_type=media_type, quality=90))
    assert (file.width, file.height) == (320, 240)
    assert file.quality == (None if media_type == "image/png" else 90)
    difference = np.abs(np.asarray(opened(file)).astype(int) - pixels).mean()
    assert difference == 0 if media_type == "image/png" else difference < 8


@pytest.mark.parametrize("media_type", TYPES[:2])
def test_quality_is_the_highest_that_fits(media_type):
    pixels = photo()
    by_quality = {
        quality: len(
            compress(pixels, CompressionTarget(media_type=media_type, quality=quality, min_quality=1)).data
        )
        for quality in (60, 61, 62)
    }
    target = CompressionTarget(by_quality[61], media_type=media_type, quality=95, min_quality=30)
    file = compress(pixels, target)
    assert file.quality is not None
    assert file.quality >= (61 if media_type == "image/jpeg" else 58)  # WebP does not grow strictly
    assert len(file.data) <= by_quality[61]
    assert (file.width, file.height) == (320, 240)


@pytest.mark.parametrize("media_type", TYPES)
def test_size_gives_way_when_the_quality_may_not(media_type):
    whole = compress(photo(), CompressionTarget(media_type=media_type, quality=50, min_quality=50))
    file = compress(photo(), CompressionTarget(len(whole.data) // 3, media_type=media_type, min_quality=50))
    assert len(file.data) <= len(whole.data) // 3
    assert 320 / 8 < file.width < 320
    assert abs(file.width / file.height - 4 / 3) < 0.05
    assert file.quality is None or file.quality >= 50
    opened(file)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    max_bytes=st.integers(1, 6000),
    max_side=st.one_of(st.none(), st.integers(1, 120)),
    media_type=st.sampled_from(TYPES),
)
def test_every_target_is_kept_or_refused(width, height, max_bytes, max_side, media_type):
    target = CompressionTarget(max_bytes, max_side, media_type)
    try:
        file = compress(photo(width, height), target)
    except MediaTooLarge:
        assert max_bytes < 2000  # what 16x16 pixels of noise take in the worst of the formats
        return
    assert len(file.data) <= max_bytes
    assert max(file.width, file.height) <= min(max(width, height), max_side or 1000)
    assert file.quality is None or target.min_quality <= file.quality <= target.quality
    opened(file)
    assert compress(photo(width, height), target) == file


def test_the_sides():
    assert resized(photo(100, 50), 100).shape == (50, 100, 3)
    assert resized(photo(100, 50), 1000).shape == (50, 100, 3)
    assert resized(photo(100, 50), 40).shape == (20, 40, 3)
    assert resized(photo(500, 1), 10).shape == (1, 10, 3)
    assert compress(photo(90, 60), CompressionTarget(max_side=30)).width == 30
    wide = np.zeros((2, 17_000, 3), np.uint8)  # more than WebP can hold
    assert compress(wide, CompressionTarget(media_type="image/webp")).width == 16_383


def test_other_pictures_become_rgb():
    grey = np.array([[0, 90]], np.uint8)
    assert normalised(grey).tolist() == [[[0, 0, 0], [90, 90, 90]]]
    assert normalised(grey[:, :, None]).tolist() == [[[0, 0, 0], [90, 90, 90]]]
    rgb = photo(4, 4)
    assert normalised(rgb) is rgb
    clear = np.zeros((1, 1, 4), np.uint8)
    assert normalised(clear).tolist() == [[[255, 255, 255]]]
    assert compress(clear, CompressionTarget(media_type="image/png")).width == 1


def test_what_is_no_picture_is_refused():
    with pytest.raises(CorruptMedia, match="no pixels"):
        normalised(np.zeros((0, 4, 3), np.uint8))
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="pixels must be"):
            normalised(wrong)


@pytest.mark.parametrize(
    "options",
    [{"media_type": "image/gif"}, {"min_quality": 0}, {"quality": 40}, {"max_bytes": 0}, {"max_side": -1}],
    ids=str,
)
def test_nonsense_targets_are_refused(options):
    with pytest.raises(ValueError):
        CompressionTarget(**options)


def test_data_urls():
    file = compress(photo(8, 8), CompressionTarget(media_type="image/webp"))
    head, body = file.data_url.split(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(body) == file.data


def test_real_photos_fit(shared_data):
    for path in sorted((shared_data / "photos").rglob("*.jpg"))[:3]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        for media_type in TYPES:
            file = compress(pixels, CompressionTarget(20_000, 512, media_type))
            assert 10_000 < len(file.data) <= 20_000
            opened(file)
