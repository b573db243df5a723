"""From decoded pixels to a small file: validate, normalise, resize, compress to a number of bytes.

For pictures that go on (thumbnails, frames for a chat model, data URLs), not for what models see: each model
file has a resize path of its own, which is part of its cache key. Pixels come out of the sandbox
(``decoding.sandbox``) upright; nothing here reads a stranger's bytes. All of it is plain work on one CPU core:
call it in a thread. The same pixels and target give the same bytes (with the same Pillow).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import CorruptMedia, MediaTooLarge
from encoders.types import Pixels

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CompressedImage", "CompressionTarget", "compress", "normalised", "resized"]

_LONGEST_SIDE = {
    "image/jpeg": 65_500,
    "image/webp": 16_383,
    "image/png": 65_500,
}  # of the formats (PNG: of us)
_SMALLEST_SIDE = 16  # nobody recognises a picture below
_SIDE_PRECISION = 64  # the size search ends within 1/64 of the best


@dataclass(frozen=True, slots=True)
class CompressionTarget:
    """What a compressed picture must be. ``max_bytes`` and ``max_side`` (pixels) are unlimited when ``None``.

    ``media_type`` is ``image/jpeg``, ``image/webp`` or ``image/png``. The quality (of 100; PNG has none) is
    ``quality`` where that fits and never below ``min_quality``: the picture is made smaller instead.
    """

    max_bytes: int | None = None
    max_side: int | None = None
    media_type: str = "image/jpeg"
    quality: int = 82
    min_quality: int = 45

    def __post_init__(self) -> None:
        if self.media_type not in _LONGEST_SIDE:
            raise ValueError(f"media_type must be one of {', '.join(_LONGEST_SIDE)}, not '{self.media_type}'")
        if not 1 <= self.min_quality <= self.quality <= 100:
            raise ValueError("1 <= min_quality <= quality <= 100 must hold")
        if any(limit is not None and limit < 1 for limit in (self.max_bytes, self.max_side)):
            raise ValueError("max_bytes and max_side must be at least 1, or None")


@dataclass(frozen=True, slots=True)
class CompressedImage:
    """A picture as a file. ``quality`` is ``None`` for PNG."""

    data: bytes
    media_type: str
    width: int
    height: int
    quality: int | None

    @property
    def data_url(self) -> str:
        """The file inside a URL (RFC 2397), as chat APIs take pictures."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def normalised(pixels: NDArray[np.uint8]) -> Pixels:
    """Any 8-bit picture as RGB ``(height, width, 3)``: grey ``(h, w)`` or ``(h, w, 1)``, RGB, or RGBA on white.

    Raises ``CorruptMedia`` for a picture without pixels, ``ValueError`` for another shape or type.
    """
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8, not {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(f"pixels must be (height, width, 1, 3 or 4), not {pixels.shape}")
    if 0 in pixels.shape:
        raise CorruptMedia("The picture has no pixels.")
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(pixels))
        white = Image.new("RGBA", picture.size, "white")
        return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    return pixels


def resized(pixels: Pixels, max_side: int) -> Pixels:
    """RGB pixels with their longer side at most ``max_side``, the proportions kept; never enlarged."""
    if max(pixels.shape[:2]) <= max_side:
        return pixels
    from PIL import Image

    return np.asarray(_shrunk(Image.fromarray(pixels), max_side))


def compress(pixels: NDArray[np.uint8], target: CompressionTarget) -> CompressedImage:
    """The best file within ``target``: the highest quality that fits, else the largest size at the lowest.

    Both are found by bisection (WebP's sizes do not grow strictly with its quality, so there it may end a little
    below the best). ``pixels`` as for ``normalised``. Raises ``MediaTooLarge`` when not even 16 pixels a side fit.
    Up to 8 encodings for the quality and 7 to 15 more, of smaller pictures, for the size.
    """
    from PIL import Image

    picture = Image.fromarray(normalised(pixels))
    longest = _LONGEST_SIDE[target.media_type]
    picture = _shrunk(picture, min(target.max_side or longest, longest))
    best, lowest = (None, None) if target.media_type == "image/png" else (target.quality, target.min_quality)

    def encoded(picture: Image.Image, quality: int | None) -> tuple[CompressedImage, bool]:
        file = _encoded(picture, target.media_type, quality)
        return file, target.max_bytes is None or len(file.data) <= target.max_bytes

    file, fits = encoded(picture, best)
    if fits:
        return file
    file, fits = encoded(picture, lowest) if lowest is not None else (file, False)
    if not fits:
        picture, file = _largest(picture, lowest, encoded)
    if best is None or lowest is None:
        return file
    low, high = lowest, best + 1
    while high - low > 1:
        middle = (low + high) // 2
        tried, fits = encoded(picture, middle)
        if fits:
            low, file = middle, tried
        else:
            high = middle
    return file


def _largest(
    picture: Image.Image,
    quality: int | None,
    encoded: Callable[[Image.Image, int | None], tuple[CompressedImage, bool]],
) -> tuple[Image.Image, CompressedImage]:
    """The largest version that fits at ``quality``, by bisection to within one in 64, and its file.

    ``picture`` itself is known not to fit.
    """
    high = max(picture.size)
    low = min(_SMALLEST_SIDE, high)
    best = _shrunk(picture, low)
    file, fits = encoded(best, quality)
    if not fits:
        raise MediaTooLarge(
            f"The picture does not fit into the bytes allowed: {len(file.data)} bytes are needed even at "
            f"{file.width}x{file.height} pixels; allow more."
        )
    while high - low > max(1, low // _SIDE_PRECISION):
        middle = (low + high) // 2
        smaller = _shrunk(picture, middle)
        tried, fits = encoded(smaller, quality)
        if fits:
            low, best, file = middle, smaller, tried
        else:
            high = middle
    return best, file


def _shrunk(picture: Image.Image, max_side: int) -> Image.Image:
    """Bicubic, after a whole-number box reduction to at least twice the size (fast, no visible loss)."""
    from PIL import Image

    scale = max_side / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _encoded(picture: Image.Image, media_type: str, quality: int | None) -> CompressedImage:
    options: dict[str, Any] = {"optimize": True} if media_type != "image/webp" else {"method": 4}
    if quality is not None:
        options["quality"] = quality
    buffer = io.BytesIO()
    picture.save(buffer, media_type.removeprefix("image/").upper(), **options)
    return CompressedImage(buffer.getvalue(), media_type, picture.width, picture.height, quality)
