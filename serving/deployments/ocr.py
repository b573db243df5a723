"""The deployment that reads the text in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from encoders.batching.turns import OneAtATime
from encoders.config import EncoderConfig
from encoders.types import Pixels, TextLine
from serving.deployments.encoder_deployment import Loaded, MediaDeployment
from storage.types import MediaRef

__all__ = ["OcrDeployment"]

_MAX_QUEUED_READINGS = 32  # each holds a decoded picture of up to 8 MB
_HEALTH_SECONDS = 20.0  # within Ray's own 30


class OcrDeployment(MediaDeployment):
    """The method of ``serving.services.Perception`` that reads."""

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        """See ``Perception.read_text``. Boxes are in pixels of the full picture."""
        decode = partial(self._decoder.image, max_side=self._reading_side)
        image = await self._reader.decoded(media, decode)
        lines = await self._ocr.submit(image.pixels)
        scale = image.width / image.pixels.shape[1]
        return tuple(replace(line, box=tuple((x * scale, y * scale) for x, y in line.box)) for line in lines)

    async def check_health(self) -> None:
        """Raise when the model's thread no longer works. Busy is healthy, however long the queue is."""
        await self._ocr.check_alive(np.full((64, 64, 3), 255, np.uint8), _HEALTH_SECONDS)

    def _loaded_at_start(self, config: EncoderConfig) -> Sequence[str]:
        return (config.ocr_model, *super()._loaded_at_start(config))

    def _begin(self, loaded: Loaded) -> None:
        super()._begin(loaded)
        name = loaded.config.ocr_model
        self._reading_side: int = loaded.specs[name].extra["max_side_pixels"]
        self._ocr: OneAtATime[Pixels, tuple[TextLine, ...]] = self._worker(
            OneAtATime(loaded.models[name].read, _MAX_QUEUED_READINGS, loaded.observer("ocr"))
        )
