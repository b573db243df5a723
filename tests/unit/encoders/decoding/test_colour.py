"""Every colour model becomes the sRGB that a browser shows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from encoders.config import DecodeLimits
from encoders.decoding.image import decode_image
from encoders.decoding.sniff import sniff

Encode = Callable[..., bytes]


def decode(data: bytes, max_side: int | None = None) -> np.ndarray:
    pixels, _, _ = decode_image(io.BytesIO(data), sniff(data), DecodeLimits(), max_side)
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
    return pixels


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG of any depth: Pillow writes none of 16 bits with colours."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    extra = b"".join(chunk(one[:4], one[4:]) for one in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def flat(
    width: int, height: int, depth: int, colour_type: int, *samples: int, chunks: tuple[bytes, ...] = ()
) -> bytes:
    pixel = struct.pack(f">{len(samples)}{'H' if depth == 16 else 'B'}", *samples)
    return png(width, height, depth, colour_type, (b"\0" + pixel * width) * height, *chunks)


@pytest.mark.parametrize("max_side", [None, 4])
@pytest.mark.parametrize(
    ("colour_type", "samples", "expected"),
    [
        (0, (0x8000,), (128, 128, 128)),
        (2, (0xC800, 0x1E00, 0x3C00), (200, 30, 60)),
        (4, (0x0000, 0x8000), (127, 127, 127)),
        (6, (0xFF00, 0x0000, 0x0000, 0x8000), (255, 127, 127)),
        (6, (0x1234, 0x1234, 0x1234, 0x0000), (255, 255, 255)),
    ],
)
def test_sixteen_bits(
    colour_type: int, samples: tuple[int, ...], expected: tuple[int, ...], max_side: int | None
) -> None:
    pixels = decode(flat(8, 8, 16, colour_type, *samples), max_side)
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1


def test_one_clear_shade_of_deep_grey() -> None:
    data = flat(4, 4, 16, 0, 0x1234, chunks=(b"tRNS" + struct.pack(">H", 0x1234),))
    assert (decode(data) == 255).all()


def deep_tiff(values: list[int], bits: int, photometric: int) -> bytes:
    """One row of grey, 16 bits a sample (or 12, packed)."""
    if bits == 12:
        packed = "".join(f"{value:03x}" for value in values)
        data = bytes.fromhex(packed + "0" * (len(packed) % 2))
    else:
        data = struct.pack(f"<{len(values)}H", *values)
    data += bytes(len(data) % 2)
    tags = {
        256: len(values),
        257: 1,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: 1,
        279: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


@pytest.mark.parametrize("max_side", [None, 4])
@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 1), (16, 0)])
def test_deep_greys_of_tiff(bits: int, photometric: int, max_side: int | None) -> None:
    """As bright as their depth says, and negatives as positives."""
    row = decode(deep_tiff([0] * 4 + [(1 << bits) - 1] * 4, bits, photometric), max_side)[0, :, 0]
    black, white = (row[0], row[-1]) if photometric else (row[-1], row[0])
    assert black < 10
    assert white > 245


@pytest.mark.parametrize("highest", [1.0, 255.0, 65535.0, 1e9])
def test_fractions_are_scaled_not_clipped(highest: float, image_bytes: Encode) -> None:
    ramp = np.linspace(0, highest, 64, dtype=np.float32).reshape(8, 8)
    seen = decode(image_bytes(Image.fromarray(ramp), "TIFF"))[:, :, 0].ravel()
    assert np.abs(seen - np.linspace(0, 255, 64)).max() <= 1


@pytest.mark.parametrize("max_side", [None, 8])
def test_palette_with_transparency(max_side: int | None, image_bytes: Encode) -> None:
    palette = Image.new("P", (16, 16), 1)
    palette.paste(2, (8, 0, 16, 16))
    palette.putpalette([0, 0, 0, 10, 20, 30, 200, 0, 0])
    pixels = decode(image_bytes(palette, "PNG", transparency=bytes([255, 0, 128])), max_side)
    assert (pixels[0, 0] == 255).all()
    assert np.abs(pixels[0, -1].astype(int) - (227, 127, 127)).max() <= 1


def test_clear_pixels_do_not_bleed_into_a_smaller_picture(image_bytes: Encode) -> None:
    """The colour behind full transparency is nobody's; averaging must weigh by opacity."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 33, 64))
    assert (decode(image_bytes(image), 16) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profiles_are_converted(kind: str, image_bytes: Encode) -> None:
    """The same numbers in a profile with swapped primaries mean other colours; in sRGB they mean themselves."""
    picture = Image.new("RGB", (32, 32), (200, 30, 60))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (
        np.abs(
            decode(image_bytes(picture, kind, icc_profile=srgb, **options))[9, 9].astype(int) - (200, 30, 60)
        ).max()
        < 4
    )
    rotated = swapped(srgb)
    pixels = decode(image_bytes(picture, kind, icc_profile=rotated, **options))
    assert np.abs(pixels[9, 9].astype(int) - (30, 200, 60)).max() < 6


def swapped(srgb: bytes) -> bytes:
    """sRGB with its red and green primaries exchanged, under another name."""
    data = bytearray(srgb)
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(count)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return (
        bytes(data)
        .replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
        .replace(b"sRGB built", b"swap built")
    )


@pytest.mark.parametrize("profile", [b"no profile at all", bytes(5000), b"\0" * 128 + b"\xff" * 400])
def test_broken_profiles_are_ignored(profile: bytes, image_bytes: Encode) -> None:
    pixels = decode(image_bytes(Image.new("RGB", (8, 8), (200, 30, 60)), icc_profile=profile))
    assert tuple(pixels[0, 0]) == (200, 30, 60)


def test_a_profile_for_another_colour_model_is_ignored(image_bytes: Encode) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    pixels = decode(image_bytes(Image.new("RGB", (8, 8), (200, 30, 60)), icc_profile=lab))
    assert tuple(pixels[0, 0]) == (200, 30, 60)


def test_grey_with_a_profile_of_colours(image_bytes: Encode) -> None:
    rotated = swapped(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    pixels = decode(image_bytes(Image.new("L", (8, 8), 90), icc_profile=rotated))
    assert np.abs(pixels.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("max_side", [None, 8])
def test_cmyk(max_side: int | None, image_bytes: Encode) -> None:
    """JPEG's CMYK is stored inverted, as Adobe does; TIFF's is not."""
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    red = decode(image_bytes(image, "JPEG"), max_side)
    assert red[4, 4, 0] > 240
    assert red[4, 4, 1:].max() < 15
    assert tuple(decode(image_bytes(image, "TIFF"), max_side)[0, 0]) == (255, 0, 0)


def test_real_cmyk_lab_and_deep_pictures(shared_data: Path) -> None:
    """Against the same picture in plain RGB, and within what the change of colour model costs."""
    folder = shared_data / "hard/pillow"
    target = decode((folder / "tiff_16bit_RGB_target.png").read_bytes()).astype(int)
    assert np.abs(decode((folder / "tiff_16bit_RGB.tiff").read_bytes()) - target).max() <= 1
    lab = decode((folder / "hopper.Lab.tif").read_bytes()).astype(int)
    hopper = decode((folder / "avif/hopper.avif").read_bytes()).astype(int)
    assert lab.shape == hopper.shape
    assert np.abs(lab - hopper).mean() < 12


def test_large_pictures_with_everything_stay_small(image_bytes: Encode) -> None:
    """Shrunk pixels equal those of the full picture shrunk: order of steps does not show."""
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 255, (40, 60, 4), dtype=np.uint8)).resize(
        (600, 400), Image.Resampling.BICUBIC
    )
    data = image_bytes(noise)
    with Image.open(io.BytesIO(data)) as image:
        white = Image.new("RGBA", image.size, "white")
        expected = (
            Image.alpha_composite(white, image).convert("RGB").resize((150, 100), Image.Resampling.BICUBIC)
        )
    assert np.abs(decode(data, 150).astype(int) - np.asarray(expected)).mean() < 1.5
