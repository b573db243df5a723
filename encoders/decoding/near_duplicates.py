"""Telling that a picture shows the same as the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from encoders.types import Pixels

__all__ = ["NearDuplicates"]

_SIDE = 32

# Steps of 256. Tried on the test videos: in still shots the noise of compression moves the worst cell by at most
# 11 (median 4 to 6), a car or a person coming into the picture moves one by 40 to 200.
_THRESHOLD = 12


class NearDuplicates:
    """Compares each picture with the last one kept, as 32x32 grey cells: the one that changed most decides.

    The mean over all cells would miss what is small: a person far away changes it no more than noise does.
    """

    def __init__(self) -> None:
        self.count = 0
        self._kept: NDArray[np.int16] | None = None

    def keep(self, picture: Pixels) -> bool:
        """Whether RGB ``(h, w, 3)`` shows something new. The first always does; others are counted if not."""
        small = Image.fromarray(picture).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        seen = np.asarray(small, dtype=np.int16)
        if self._kept is not None and np.abs(self._kept - seen).max() < _THRESHOLD:
            self.count += 1
            return False
        self._kept = seen
        return True
