"""Telling that a picture shows the same as the one before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from encoders.types import Pixels, VideoSummary

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
        self.times_seconds: list[float] = []
        """When the pictures came that showed nothing new."""
        self._kept: NDArray[np.int16] | None = None

    def keep(self, time_seconds: float, picture: Pixels) -> bool:
        """Whether RGB ``(h, w, 3)`` shows something new. The first always does; others' times are noted if not."""
        small = Image.fromarray(picture).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        seen = np.asarray(small, dtype=np.int16)
        if self._kept is not None and np.abs(self._kept - seen).max() < _THRESHOLD:
            self.times_seconds.append(time_seconds)
            return False
        self._kept = seen
        return True

    def summary(self, duration_seconds: float, scene_changes: Sequence[float]) -> VideoSummary:
        """What is told after the last picture."""
        times = tuple(self.times_seconds)
        return VideoSummary(duration_seconds, len(times), times, tuple(scene_changes))
