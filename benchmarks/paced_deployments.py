"""The stand-ins by the names of the deployments they stand for. With them, ``build_application(settings, classes)``
runs the real gateway, search and storage on real Ray, and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.fake_encoders import FakeEncoders
from benchmarks.fake_engine import FakeEngineDeployment, Pace
from encoders.config import EncoderConfig
from serving.config import EngineConfig
from serving.services import Perception
from storage.config import StorageConfig

__all__ = ["Pace", "paced_classes"]

_ENCODERS = ("perception", "vision", "ocr", "audio", "text")


def paced_classes(pace: Pace) -> Mapping[str, type]:
    """A class for each deployment of encoders and for the engine, constructed as the real ones are.

    They are made here and not in a module, so that they travel to the replicas with the pace they were made with.
    """

    class Engine(FakeEngineDeployment):
        def __init__(self, config: EngineConfig, perception: Perception | None = None) -> None:
            super().__init__(config, perception, pace)

    class Encoders(FakeEncoders):
        def __init__(self, config: EncoderConfig, storage: StorageConfig) -> None:
            super().__init__(config, storage, pace)

    return {"engine": Engine, **dict.fromkeys(_ENCODERS, Encoders)}
