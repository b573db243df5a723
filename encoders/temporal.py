"""Sinusoidal encoding of when frames were shown, to be added to or put beside their embeddings.

Vaswani et al. 2017, "Attention is all you need", section 3.5: for position ``p`` and width ``d``,
``PE[p, 2i] = sin(p / 10000^(2i/d))`` and ``PE[p, 2i+1] = cos(p / 10000^(2i/d))``. Positions need not be whole:
frames taken at uneven times are encoded by their seconds, so that a distance in time is the same rotation
wherever it lies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encoders.types import Vector

__all__ = ["temporal_encoding"]

_LONGEST = 10_000.0


def temporal_encoding(
    times_seconds: Sequence[float] | Vector, width: int, positions_per_second: float = 1.0
) -> Vector:
    """Encodings of the times, float32 ``(n, width)``, sine in even columns and cosine in odd ones.

    ``positions_per_second`` turns seconds into positions (the frame rate gives frame numbers). Every row has the
    L2 norm ``sqrt(width / 2)``. ``ValueError`` when ``width`` is not even and positive, or a time is not finite.
    """
    if width < 2 or width % 2:
        raise ValueError(f"width is {width}; it must be even and at least 2")
    positions = np.asarray(times_seconds, dtype=np.float64).reshape(-1) * positions_per_second
    if not np.isfinite(positions).all():
        raise ValueError("times must be finite numbers of seconds")
    angles = positions[:, None] / _LONGEST ** (np.arange(0, width, 2) / width)
    encoded = np.empty((len(positions), width), dtype=np.float32)
    encoded[:, 0::2] = np.sin(angles)
    encoded[:, 1::2] = np.cos(angles)
    return encoded
