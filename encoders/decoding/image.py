"""Still pictures through Pillow: upright, sRGB, transparency on white, header limits first.

Order of the steps: header and limits; decode (a large JPEG at 1/2, 1/4 or 1/8 where that suffices); shrink; turn
upright by EXIF; embedded colour profile to sRGB; transparency on white. Shrinking comes first so that the other
steps never hold a second full-size picture.
"""

from __future__ import annotations

import contextlib
from typing import BinaryIO

import numpy as np
import pillow_heif

# All plugins that may be needed are imported here by name: once the sandbox is closed no file can be opened,
# so nothing can be imported lazily.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from encoders.config import DecodeLimits
from encoders.decoding.colour import rgb, shrinkable
from encoders.decoding.sniff import Sniffed
from encoders.errors import CorruptMedia, MediaTooLarge
from encoders.types import Pixels

__all__ = ["check_pixels", "decode_image", "displayed_size", "finished", "image_size", "open_image"]

pillow_heif.register_heif_opener(thumbnails=False)
Image.MAX_IMAGE_PIXELS = None  # ``DecodeLimits.max_pixels`` is checked below; Pillow's own only warns

# Shrinking by more than this much twice over averages whole pixels first; the rest is the exact filter.
_REDUCING_GAP = 3.0


def image_size(file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits) -> tuple[int, int]:
    """Width and height as displayed, from the header, held against ``limits.max_pixels``."""
    with open_image(file, sniffed, limits) as image:
        return displayed_size(image)


def decode_image(
    file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits, max_side: int | None
) -> tuple[Pixels, int, int]:
    """First frame as RGB ``(height, width, 3)``, its longer side at most ``max_side``; and its full size.

    Raises ``MediaTooLarge``, ``CorruptMedia`` or ``UnsupportedMedia``.
    """
    with open_image(file, sniffed, limits) as image:
        width, height = displayed_size(image)
        if max_side is not None:
            image.draft(image.mode, (max_side, max_side))
        image.load()
        pixels = finished(image, max_side, (width, height))
    if (pixels.shape[1] > pixels.shape[0]) != (width > height) and pixels.shape[0] != pixels.shape[1]:
        width, height = height, width  # orientation was stated behind the pixels (PNG may)
    return pixels, width, height


def open_image(file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits) -> Image.Image:
    """Read the header with the one plugin that was sniffed."""
    file.seek(0)
    try:
        image = Image.open(file, formats=[sniffed.format])
    except OSError:  # Pillow's own for what it cannot read, and what its plugins let through
        raise CorruptMedia(f"The {sniffed.subtype.upper()} image's header is damaged.") from None
    check_pixels(image, limits)
    return image


def check_pixels(image: Image.Image, limits: DecodeLimits) -> None:
    """Raise for a picture that is too large or empty."""
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise MediaTooLarge(
            f"The image is {image.width}x{image.height} = {pixels / 1e6:.1f} megapixels; at most "
            f"{limits.max_pixels / 1e6:.1f} megapixels are accepted. Make it smaller and send it again."
        )
    if pixels == 0:
        raise CorruptMedia("The image has no pixels.")


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Size after EXIF orientation. Pillow's TIFF plugin and pillow_heif state it already turned."""
    width, height = image.size
    if image.format in ("TIFF", "HEIF"):
        return width, height
    try:
        # The base class's method: PNG's own would decode the whole picture to find EXIF behind it.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF is no reason to refuse a picture
        orientation = None
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def finished(image: Image.Image, max_side: int | None, full_size: tuple[int, int]) -> Pixels:
    """Upright sRGB pixels of a decoded picture, its longer side at most ``max_side``.

    ``full_size`` is the size before any scaled decoding, either way round. The image may be used up.
    """
    if max_side is not None and max(image.size) > max_side:
        # Of the full size, not of what was decoded, so that both sides are rounded once.
        scale = max_side / max(full_size)
        long, short = (max(1, round(side * scale)) for side in (max(full_size), min(full_size)))
        target = (long, short) if image.width >= image.height else (short, long)
        image = shrinkable(image).resize(target, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
    with contextlib.suppress(Exception):  # damaged EXIF is ignored
        ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(rgb(image))
