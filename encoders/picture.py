"""What is made of decoded pixels without a model: a perceptual hash and a small JPEG.

Pixels come out of the sandbox (``encoders.decoding.sandbox``), never from bytes of a stranger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encoders.image_pipeline import CompressionTarget, compress
from encoders.types import Pixels

__all__ = ["brightest_enough", "perceptual_hash", "small_jpeg"]

_DARK_MEAN = 24.0  # of 255: fades and black leaders lie below, night scenes above


def perceptual_hash(pixels: Pixels) -> str:
    """The 64-bit pHash of an RGB picture ``(height, width, 3)`` in 16 hex digits.

    The signs of the 8x8 lowest DCT frequencies against their median (Zauner 2010, as in the library
    ``imagehash``): pictures that look alike differ in few bits, whatever their size, format and quality.
    """
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.fromarray(pixels)))


def small_jpeg(pixels: Pixels, max_side: int) -> bytes:
    """An RGB picture ``(height, width, 3)`` as JPEG, its longer side at most ``max_side``; never enlarged."""
    return compress(pixels, CompressionTarget(max_side=max_side)).data


def brightest_enough(pictures: Sequence[Pixels]) -> Pixels:
    """The first picture that is not nearly black, else the brightest. Needs at least one."""
    means = [float(picture.mean()) for picture in pictures]
    first = next((index for index, mean in enumerate(means) if mean >= _DARK_MEAN), None)
    return pictures[int(np.argmax(means)) if first is None else first]
