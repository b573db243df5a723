"""Any colour model that Pillow reads as 8-bit sRGB, transparency on white.

Embedded ICC profiles are converted to sRGB, as browsers and libvips do it (perceptual intent), also those of CMYK
and grey pictures; a profile that is damaged, too long or does not fit its picture is ignored. Without one,
numbers are taken for sRGB. CMYK from JPEG is read as Adobe writes it, inverted, as all readers do.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from encoders.errors import UnsupportedMedia

__all__ = ["rgb", "shrinkable"]

_MAX_PROFILE_BYTES = 4 << 20
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# Which of Pillow's modes a profile of each colour space is about.
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_BAND_ROWS = 256
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def shrinkable(image: Image.Image) -> Image.Image:
    """The picture in a mode whose numbers may be averaged: no palette, no bits, no depth beyond eight bits.

    ``RGBA`` and ``LA`` when it has transparency.
    """
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    try:
        if image.has_transparency_data:
            return image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        if image.mode in ("L", "RGB", "CMYK", "LAB"):
            return image
        return image.convert("L" if image.mode == "1" else "RGB")
    except ValueError:
        raise _unsupported(image.mode) from None


def rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB."""
    profile = image.info.get("icc_profile")
    image = shrinkable(image)
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    if alpha is not None:
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    coloured = _standard(image, profile)
    if alpha is None:
        return coloured
    white = Image.new("RGB", coloured.size, "white")
    white.paste(coloured, mask=alpha)
    return white


def _standard(image: Image.Image, profile: Any) -> Image.Image:
    """``L``, ``RGB``, ``CMYK`` or ``LAB`` as sRGB."""
    source: ImageCms.ImageCmsProfile | None = None
    if isinstance(profile, bytes) and 128 < len(profile) <= _MAX_PROFILE_BYTES:
        source = _read_profile(profile)
    if image.mode == "LAB" and source is None:
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    if source is not None:
        mode = _PROFILE_MODES.get(source.profile.xcolor_space.strip())
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")  # grey saved with the profile of the colours it was made of
        if mode == image.mode:
            try:
                converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
            except (ImageCms.PyCMSError, ValueError, OSError):
                converted = None
            if converted is not None:
                return converted
    if image.mode == "LAB":
        raise _unsupported(image.mode)
    return image.convert("RGB")


def _read_profile(data: bytes) -> ImageCms.ImageCmsProfile | None:
    """``None`` for what is no profile, and for sRGB itself, which most are."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        description = ImageCms.getProfileDescription(profile).lower()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if "srgb" in description and "linear" not in description else profile


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep greys to 8 bits. ``convert`` would clip everything above 255 to white."""
    values = np.asarray(image)
    highest = float(np.max(values, initial=0, where=np.isfinite(values)))
    # What Pillow leaves to its callers of a TIFF deeper than eight bits: 12 bits in 16, and negatives.
    tags: Any = getattr(image, "tag_v2", {})
    bits, negative = tags.get(_BITS_PER_SAMPLE, (16,))[0], tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode.startswith("I;16"):
        white = (1 << bits) - 1 if 8 < bits < 16 else 65535
    else:  # integers of 32 bits and fractions are mostly how shallower pictures arrive
        usual = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        white = next((one for one in usual if highest <= one), highest)
    scale = 255 / white
    grey = np.empty(values.shape, dtype=np.uint8)
    for top in range(0, len(values), _BAND_ROWS):  # in bands: as float32 the whole is four times as large
        band = values[top : top + _BAND_ROWS].astype(np.float32)
        np.nan_to_num(band, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        grey[top : top + _BAND_ROWS] = np.clip(band * scale + 0.5, 0, 255)
    if negative:
        np.subtract(255, grey, out=grey)
    eight = Image.fromarray(grey)
    eight.info = {key: value for key, value in image.info.items() if key != "transparency"}
    clear = image.info.get("transparency")
    if isinstance(clear, int) and image.mode.startswith("I"):
        eight = Image.merge(
            "LA", (eight, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        )
    return eight


def _unsupported(mode: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"The image's colour model ({mode}) is not read here; save it as RGB.")
