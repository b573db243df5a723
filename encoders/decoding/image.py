"""Still pictures through Pillow: upright, RGB, alpha on white, header limits first."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray

# All plugins that may be needed are imported here by name: once the sandbox is closed no file can be opened,
# so nothing can be imported lazily.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from encoders.config import DecodeLimits
from encoders.decoding.sniff import Sniffed
from encoders.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia

__all__ = ["decode_image", "image_size"]

pillow_heif.register_heif_opener(thumbnails=False)
Image.MAX_IMAGE_PIXELS = None  # ``DecodeLimits.max_pixels`` is checked below; Pillow's own only warns


def image_size(data: bytes, sniffed: Sniffed, limits: DecodeLimits) -> tuple[int, int]:
    """Width and height as displayed, from the header, held against ``limits.max_pixels``."""
    with _open(data, sniffed, limits) as image:
        return _displayed_size(image)


def decode_image(
    data: bytes, sniffed: Sniffed, limits: DecodeLimits, max_side: int | None
) -> tuple[NDArray[np.uint8], int, int]:
    """First frame as RGB ``(height, width, 3)``, its longer side at most ``max_side``; and its full size.

    Raises ``MediaTooLarge``, ``CorruptMedia`` or ``UnsupportedMedia``.
    """
    with _open(data, sniffed, limits) as image:
        width, height = _displayed_size(image)
        if max_side is not None:
            image.draft(image.mode, (max_side, max_side))  # JPEG: decode at 1/2, 1/4, 1/8 where that suffices
        image.load()
        upright = _rgb(_transposed(image))
    if (upright.width > upright.height) != (width > height):
        width, height = height, width  # orientation was stated behind the pixels (PNG may)
    if max_side is not None and max(upright.size) > max_side:
        scale = max_side / max(width, height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        upright = upright.resize(target, Image.Resampling.BICUBIC)
    return np.asarray(upright), width, height


def _open(data: bytes, sniffed: Sniffed, limits: DecodeLimits) -> Image.Image:
    """Read the header with the one plugin that was sniffed."""
    try:
        image = Image.open(io.BytesIO(data), formats=[sniffed.format])
    except UnidentifiedImageError:
        raise CorruptMedia(f"The {sniffed.subtype.upper()} image's header is damaged.") from None
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise MediaTooLarge(
            f"The image is {image.width}x{image.height} = {pixels / 1e6:.1f} megapixels; at most "
            f"{limits.max_pixels / 1e6:.1f} megapixels are accepted. Make it smaller and send it again."
        )
    if pixels == 0:
        raise CorruptMedia("The image has no pixels.")
    return image


def _displayed_size(image: Image.Image) -> tuple[int, int]:
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


def _transposed(image: Image.Image) -> Image.Image:
    """EXIF orientation applied; damaged EXIF is ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as 8-bit RGB; transparency on white."""
    if image.mode.startswith(("I", "F")):
        return _scaled_to_bytes(image).convert("RGB")
    try:
        if image.has_transparency_data:
            rgba: Any = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return image.convert("RGB")
    except ValueError:
        raise UnsupportedMedia(
            f"The image's colour model ({image.mode}) is not read here; save it as RGB."
        ) from None


def _scaled_to_bytes(image: Image.Image) -> Image.Image:
    """Deep greys to 8 bits. ``convert`` would clip everything above 255 to white."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode.startswith("I;16") or (image.mode == "I" and values.max() <= 65535):
        # 32-bit integers are mostly how 16-bit pictures arrive.
        scale = 1.0 if image.mode == "I" and values.max() <= 255 else 255 / 65535
    elif image.mode == "F":
        scale = 255.0 if values.max() <= 1.0 else 1.0
    else:
        scale = 255 / max(float(values.max()), 1.0)
    return Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8), "L")
