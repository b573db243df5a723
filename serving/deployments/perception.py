"""All kinds of encoders in one deployment, for machines that are too small for one of each."""

from __future__ import annotations

from serving.deployments.audio import AudioDeployment
from serving.deployments.ocr import OcrDeployment
from serving.deployments.text import TextDeployment
from serving.deployments.vision import VisionDeployment

__all__ = ["PerceptionDeployment"]


class PerceptionDeployment(VisionDeployment, OcrDeployment, AudioDeployment, TextDeployment):
    """Satisfies ``serving.services.Perception``."""

    async def check_health(self) -> None:
        """Raise when the text model's thread no longer works. It stands for all: asking each would take a laptop's
        processor time every few seconds.
        """
        await TextDeployment.check_health(self)
