"""Speech made faster at its pitch, by FFmpeg's ``atempo`` (waveform similarity overlap-add)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from encoders.types import Vector

__all__ = ["Tempo"]

_MAX_STEP = 2.0  # above it ``atempo`` leaves samples out; two in a row do not


class Tempo:
    """Mono float32 sound ``factor`` times as fast (1 to 4), piece by piece."""

    def __init__(self, factor: float, sample_rate: int) -> None:
        import av

        self._av: Any = av
        self._sample_rate = sample_rate
        self._taken = 0
        self._graph: Any = None
        if factor > 1:
            self._graph = av.filter.Graph()
            last = self._graph.add_abuffer(
                format="flt", sample_rate=sample_rate, layout="mono", time_base=f"1/{sample_rate}"
            )
            for step in _steps(factor):
                following = self._graph.add("atempo", f"{step:.6f}")
                last.link_to(following)
                last = following
            last.link_to(self._graph.add("abuffersink"))
            self._graph.configure()

    def faster(self, samples: Vector) -> Vector:
        """What is ready of the faster sound."""
        if self._graph is None:
            return samples
        if len(samples):
            frame = self._av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[None], dtype=np.float32), format="flt", layout="mono"
            )
            frame.sample_rate = self._sample_rate
            frame.pts = self._taken
            self._taken += len(samples)
            self._graph.push(frame)
        return self._pulled()

    def rest(self) -> Vector:
        """What is left at the end."""
        if self._graph is None:
            return np.zeros(0, np.float32)
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Vector:
        parts = [np.zeros(0, np.float32), *self._frames()]
        return np.concatenate(parts)

    def _frames(self) -> Iterator[Vector]:
        while True:
            try:
                yield self._graph.pull().to_ndarray()[0]
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return


def _steps(factor: float) -> Iterator[float]:
    while factor > _MAX_STEP:
        yield _MAX_STEP
        factor /= _MAX_STEP
    yield factor
