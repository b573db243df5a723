"""The models of the registry, loaded once per test run, and the pages and words that tests hold them against."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders import registry
from encoders.config import DecodeLimits, EncoderConfig
from encoders.types import ModelSpec

__all__ = ["JFK", "each", "loaded", "packaged", "page", "plain", "speech_of"]

JFK = (
    "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
)


@cache
def loaded(name: str, models_dir: Path) -> Any:
    """The warm model of that name."""
    return registry.load(name, EncoderConfig(models_dir))


def packaged(task: str | None = None) -> list[ModelSpec]:
    """Models of a task, or of all, that installed packages carry, so that they can be loaded without a hub."""
    return [spec for spec in registry.specs(task) if registry.installed(spec)]


def each(task: str) -> pytest.MarkDecorator:
    """Runs a test once for every packaged model of a task, as ``spec``."""
    return pytest.mark.parametrize("spec", packaged(task), ids=lambda spec: spec.name)


def plain(text: str) -> str:
    """Lower-case words without punctuation."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def page() -> np.ndarray:
    """A drawn page of three lines."""
    import cv2

    image = np.full((300, 700, 3), 255, dtype=np.uint8)
    for index, text in enumerate(("First line here", "Second line 42", "Third and last")):
        cv2.putText(image, text, (40, 80 + 80 * index), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3)
    return image


def speech_of(path: Path) -> np.ndarray:
    """A sound file as the platform decodes it, in this process."""
    from encoders.decoding.audio import decode_audio
    from encoders.decoding.sniff import sniff

    data = path.read_bytes()
    parts = list(decode_audio(io.BytesIO(data), sniff(data), DecodeLimits()))
    return np.concatenate(parts).astype(np.float32) / 32768
