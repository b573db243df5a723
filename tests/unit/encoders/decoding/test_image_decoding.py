"""Pictures come out upright, RGB, on white, and within limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.image import decode_image
from encoders.decoding.probe import probe
from encoders.decoding.sniff import sniff
from encoders.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]


def decode(data: bytes, max_side: int | None = None) -> np.ndarray:
    pixels, _, _ = decode_image(io.BytesIO(data), sniff(data), LIMITS, max_side)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
def test_formats(kind: str, image_bytes: Encode) -> None:
    pixels = decode(image_bytes((40, 20), kind))
    assert pixels.shape == (20, 40, 3)
    assert np.abs(pixels.mean((0, 1)) - (200, 30, 60)).max() < 6


def test_heic() -> None:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 60))).save(buffer)
    assert np.abs(decode(buffer.getvalue()).mean((0, 1)) - (200, 30, 60)).max() < 6


def test_transparency_becomes_white(image_bytes: Encode) -> None:
    half = decode(image_bytes(Image.new("RGBA", (4, 4), (0, 0, 0, 128))))
    assert abs(int(half[0, 0, 0]) - 127) <= 1
    grey = decode(image_bytes(Image.new("LA", (4, 4), (0, 0))))
    assert (grey == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (decode(image_bytes(palette, "PNG", transparency=1)) == 255).all()
    assert (decode(image_bytes(palette)) == (10, 20, 30)).all()


def test_deep_greys_are_scaled_not_clipped(image_bytes: Encode) -> None:
    deep = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    assert abs(int(decode(image_bytes(deep, "PNG"))[0, 0, 0]) - 128) <= 1
    assert abs(int(decode(image_bytes(deep, "TIFF"))[0, 0, 0]) - 128) <= 1
    floats = Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32))
    assert abs(int(decode(image_bytes(floats, "TIFF"))[0, 0, 0]) - 128) <= 1


def test_one_bit(image_bytes: Encode) -> None:
    assert (decode(image_bytes(Image.new("1", (8, 8), 1))) == 255).all()


def test_shrinking_keeps_the_full_size_known(image_bytes: Encode) -> None:
    data = image_bytes((3000, 1500), "JPEG")
    pixels, width, height = decode_image(io.BytesIO(data), sniff(data), LIMITS, 768)
    assert pixels.shape == (384, 768, 3)
    assert (width, height) == (3000, 1500)
    small = image_bytes((30, 15))
    assert decode(small, 768).shape == (15, 30, 3)
    assert decode(image_bytes((4000, 1)), 100).shape == (1, 100, 3)


def test_pixel_limit_at_and_over_the_edge(image_bytes: Encode) -> None:
    data = image_bytes((100, 50))
    sniffed = sniff(data)
    decode_image(io.BytesIO(data), sniffed, replace(LIMITS, max_pixels=5000), None)
    with pytest.raises(MediaTooLarge, match=r"100x50.*accepted"):
        decode_image(io.BytesIO(data), sniffed, replace(LIMITS, max_pixels=4999), None)


def test_sixty_megapixels_are_refused_by_the_header(image_bytes: Encode) -> None:
    data = image_bytes(Image.new("1", (10000, 6000)))
    with pytest.raises(MediaTooLarge, match=r"10000x6000 = 60\.0 megapixels; at most 50\.0"):
        probe(io.BytesIO(data), LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP"])
def test_cut_off_files_are_corrupt(kind: str, image_bytes: Encode) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = image_bytes(noise, kind)
    with pytest.raises(Exception) as caught:
        decode(data[: len(data) // 2])
    assert not isinstance(caught.value, MediaTooLarge | UnsupportedMedia | MemoryError)


def test_header_only_is_corrupt() -> None:
    with pytest.raises(CorruptMedia, match="JPEG"):
        decode(b"\xff\xd8\xff\xe0")
