"""High dynamic range brought to the brightness of an ordinary picture.

PQ (SMPTE ST 2084) and HLG (ITU-R BT.2100) samples are turned into light, scaled so that diffuse white (203
candela per square metre, ITU-R BT.2408) is 1, taken from BT.2020's primaries to BT.709's, and bent: up to
``_KNEE`` nothing changes, above it highlights approach 1 as x / (1 + x) does (Reinhard et al. 2002), by their
brightest component so that hues stay. What comes out is coded for a BT.1886 display, as ordinary video is.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from encoders.types import Pixels

__all__ = ["HLG", "PQ", "to_standard_range"]

PQ, HLG = 16, 18
"""Transfer characteristics by their numbers in ITU-T H.273."""

_WHITE = 203.0
_KNEE = 0.5
_HLG_PEAK = 1000.0
_BAND_ROWS = 64

# ITU-R BT.2087, linear light.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)


def to_standard_range(picture: NDArray[np.uint16], transfer: int, wide: bool) -> Pixels:
    """RGB samples of 16 bits, ``(h, w, 3)``, coded by ``PQ`` or ``HLG``, as 8-bit RGB of BT.709.

    ``wide`` says that the primaries are BT.2020's.
    """
    seen = np.empty(picture.shape, dtype=np.uint8)
    for top in range(0, len(picture), _BAND_ROWS):  # in bands: light takes several times as much memory
        seen[top : top + _BAND_ROWS] = _bent(picture[top : top + _BAND_ROWS], transfer, wide)
    return seen


def _bent(picture: NDArray[np.uint16], transfer: int, wide: bool) -> Pixels:
    light = _light(transfer)[picture >> 4]
    if transfer == HLG:  # the system gamma makes scene light display light
        light *= np.power(np.maximum(light @ _LUMINANCE_2020, 1e-6), 0.2)[..., None]
        light *= _HLG_PEAK / _WHITE
    if wide:
        light = light @ _TO_709.T
    np.clip(light, 0.0, None, out=light)
    brightest = light.max(axis=-1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0.0) / (1 - _KNEE)
    bent = np.minimum(brightest, _KNEE) + (1 - _KNEE) * over / (1 + over)
    light *= bent / np.maximum(brightest, 1e-6)
    coded: Pixels = _codes()[np.rint(light * (len(_codes()) - 1)).astype(np.intp)]
    return coded


@cache
def _light(transfer: int) -> NDArray[np.float32]:
    """Light of each of 4096 codes: PQ in units of diffuse white, HLG as scene light in [0, 1]."""
    code = np.linspace(0.0, 1.0, 4096)
    if transfer == PQ:
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = np.power(code, 1 / m2)
        nits = 10000 * np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)
        return (nits / _WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@cache
def _codes() -> NDArray[np.uint8]:
    """8-bit code of each of 65536 steps of light in [0, 1]."""
    return np.rint(np.linspace(0.0, 1.0, 1 << 16) ** (1 / 2.4) * 255).astype(np.uint8)
