"""The laptop profile's encoders, as a gateway is told of them."""

from __future__ import annotations

from pathlib import Path

from encoders import registry
from encoders.types import ModelSpec

__all__ = ["moderation_models", "served_models", "voice_model"]


def served_models() -> tuple[ModelSpec, ModelSpec, ModelSpec, ModelSpec]:
    """Vision, speech, text and OCR, in the order of ``GatewayConfig``."""
    vision, speech, text, ocr = (
        registry.find(name, Path("nowhere"))
        for name in ("efficientnet-lite2", "whisper-base", "all-minilm-l6-v2", "rapidocr")
    )
    return vision, speech, text, ocr


def voice_model() -> ModelSpec:
    """The voice."""
    return registry.find("hibari-heart", Path("nowhere"))


def moderation_models() -> dict[str, ModelSpec]:
    """Those that judge texts and pictures, as fields of ``GatewayConfig``."""
    return {
        "moderation_text": registry.find("tox-block", Path("nowhere")),
        "moderation_image": registry.find("open-nsfw", Path("nowhere")),
    }
