"""Pictures are upright whatever their EXIF says, and broken EXIF refuses none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.image import decode_image
from encoders.decoding.probe import probe
from encoders.decoding.sniff import sniff

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]


def decode(data: bytes, max_side: int | None = None) -> np.ndarray:
    pixels, width, height = decode_image(io.BytesIO(data), sniff(data), LIMITS, max_side)
    info = probe(io.BytesIO(data), LIMITS)
    assert (info.width, info.height) == (width, height)
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation(orientation: int, kind: str, image_bytes: Encode) -> None:
    """What a viewer shows is red on the left; the stored pixels are turned the other way round."""
    upright = Image.new("RGB", (48, 32), "blue")
    upright.paste((255, 0, 0), (0, 0, 16, 32))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the Transpose that undoes it
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = image_bytes(stored, kind, exif=exif)
    pixels = decode(data)
    assert pixels.shape == (32, 48, 3)
    assert pixels[16, 4, 0] > 200
    assert pixels[16, 40, 2] > 200
    small = decode(data, 24)
    assert small.shape == (16, 24, 3)
    assert small[8, 2, 0] > 200
    assert small[8, 20, 2] > 200


def test_damaged_exif_does_not_refuse_the_picture(image_bytes: Encode) -> None:
    assert decode(image_bytes((8, 8), "JPEG", exif=b"Exif\0\0nonsense")).shape == (8, 8, 3)


def test_heic_is_turned_by_its_own_properties(shared_data: Path) -> None:
    """HEIC has turning and mirroring of its own; its standard says that EXIF's is for information only."""
    folder = shared_data / "hard/torchcodec-images"
    plain, rotated, mirrored = (
        decode((folder / f"gradient{kind}.heic").read_bytes()) for kind in ("", "_rotated", "_mirrored")
    )
    np.testing.assert_array_equal(np.rot90(plain, 3), rotated)
    np.testing.assert_array_equal(plain[:, ::-1], mirrored)


@pytest.mark.parametrize("side", [None, 120])
@pytest.mark.parametrize("name", ["Landscape", "Portrait"])
def test_real_set(name: str, side: int | None, shared_data: Path) -> None:
    """All nine versions of each photo show the same picture as the one that is stored upright."""
    pictures = []
    for number in (1, 0, 2, 3, 4, 5, 6, 7, 8):
        path = shared_data / f"photos/exif-orientation/{name}_{number}.jpg"
        pictures.append(decode(path.read_bytes(), side).astype(np.int16))
    height, width = (1200, 1800) if name == "Landscape" else (1800, 1200)
    assert pictures[0].shape[:2] == ((height, width) if side is None else (height // 15, width // 15))
    for other in pictures[1:]:
        assert np.abs(other - pictures[0]).mean() < 12  # only the orientation's number differs
