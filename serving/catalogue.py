"""Which models this platform serves, under which names."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from encoders.types import ModelSpec
from serving.config import GatewayConfig
from serving.errors import ModelNotFound

__all__ = ["CHAT_ALIASES", "ModelCatalogue", "ServedModel", "space_model"]

CHAT_ALIASES = ("default",)
"""Other names of the decoder."""

_ALIASES = {"chat": CHAT_ALIASES, "speech": ("whisper-1",), "voice": ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")}
_MODERATION_ALIASES = ("omni-moderation-latest", "omni-moderation-2024-09-26")
_TEXT_MODERATION_ALIASES = ("text-moderation-latest", "text-moderation-stable")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by its public name, what it is for, and other names it answers to.

    ``facts`` are what is told of it besides its ``spec``: of the chat model, how media reach it.
    """

    name: str
    task: str
    spec: ModelSpec | None
    aliases: tuple[str, ...] = field(default=())
    facts: Mapping[str, str] = field(default_factory=dict)


class ModelCatalogue:
    """The served models: chat first, then speech, text, vision, OCR, then moderation and voice where set."""

    def __init__(self, config: GatewayConfig) -> None:
        self.created_at_seconds = int(time.time())
        facts = {"fusion": str(config.chat_model.fusion)}
        if config.bridge is not None:
            facts["bridge"] = config.bridge.name
        self.chat = ServedModel(config.chat_model.name, "chat", None, _ALIASES["chat"], facts)
        of = {"adapter_of": config.chat_model.name, **facts}
        self.adapters = tuple(
            ServedModel(name, "chat", None, facts=of) for name in config.chat_model.adapters
        )
        self.speech = _encoder(config.speech_model, "speech")
        self.text = _encoder(config.text_model, "text")
        self.vision = _encoder(config.vision_model, "vision")
        self.ocr = _encoder(config.ocr_model, "ocr")
        self.moderation_text: ServedModel | None = None
        self.moderation_image: ServedModel | None = None
        served = [self.chat, *self.adapters, self.speech, self.text, self.vision, self.ocr]
        if (text := config.moderation_text) is not None:
            aliases = (*_MODERATION_ALIASES, *_TEXT_MODERATION_ALIASES)
            self.moderation_text = ServedModel(text.name, "moderation", text, aliases)
            served.append(self.moderation_text)
        if (image := config.moderation_image) is not None:
            alone = self.moderation_text is None
            self.moderation_image = ServedModel(
                image.name, "moderation", image, _MODERATION_ALIASES if alone else ()
            )
            served.append(self.moderation_image)
        self.text_variants = tuple(
            ServedModel(spec.name, "text", spec, facts={"memory": "loaded when asked for"})
            for spec in config.text_variants
        )
        served += self.text_variants
        self.voice = None if config.voice_model is None else _encoder(config.voice_model, "voice")
        if self.voice is not None:
            served.append(self.voice)
        # A model of texts and pictures alike does two tasks under one name.
        self.all = tuple({model.name: model for model in reversed(served)}.values())[::-1]

    def find(self, name: str) -> ServedModel:
        """A model of any task by name or alias."""
        for model in self.all:
            if name == model.name or name in model.aliases:
                return model
        raise _not_found(name)

    def chat_model(self, name: str) -> ServedModel:
        """The decoder, or an adapter of it, by its name. Raises ``ModelNotFound``."""
        for adapter in self.adapters:
            if name == adapter.name:
                return adapter
        self.check(self.chat, name)
        return self.chat

    def text_model(self, name: str) -> ServedModel:
        """The text model, or a variant, by its name. Raises ``ModelNotFound``."""
        for variant in self.text_variants:
            if name == variant.name:
                return variant
        self.check(self.text, name)
        return self.text

    def check(self, model: ServedModel, name: str) -> None:
        """Raise ``ModelNotFound`` unless ``name`` means ``model``."""
        if name != model.name and name not in model.aliases:
            raise _not_found(name)


def space_model(spec: ModelSpec) -> str:
    """Whose space the vectors of a text model lie in, as collections keep it: ``name@revision``."""
    return f"{spec.name}@{spec.revision}"


def _encoder(spec: ModelSpec, task: str) -> ServedModel:
    return ServedModel(spec.name, task, spec, _ALIASES.get(task, ()))


def _not_found(name: str) -> ModelNotFound:
    return ModelNotFound(f"The model '{name[:100]}' does not exist or is not served for this task.", "model")
