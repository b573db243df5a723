"""Settings of the encoders: which model does what, and what they may use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from encoders.config import TEXT_BATCHES, VARIANT_MEMORY_BYTES, VISION_BATCHES, BatchLimits
from encoders.errors import ModelUnavailable
from encoders.registry import find, find_directory
from encoders.types import ModelSpec, Quality

__all__ = ["EncoderSettings"]


class EncoderSettings(BaseModel):
    """Which model does what, and what they may use.

    ``quality`` ``best`` looks at a picture several times. ``device`` ``auto`` is a GPU where there is one.
    ``max_memory_bytes`` bounds what the models say they take, without it what the machine has free does. Models for
    moderation and the voice are loaded when they are first asked; without them (an empty name) nothing is judged
    or said. ``text_variants`` are further text models of ``/v1/embeddings``: any number, of which as many are in
    memory at once as fit into ``variant_memory_bytes``; others are loaded when they are asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vision: str
    speech: str
    text: str
    ocr: str
    moderation_text: str | None = None
    moderation_image: str | None = None
    voice: str | None = None
    threads: int = Field(gt=0)
    quality: Quality = Quality.FAST
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compiled: bool = False
    text_batches: BatchLimits = TEXT_BATCHES
    vision_batches: BatchLimits = VISION_BATCHES
    max_memory_bytes: int | None = Field(default=None, gt=0)
    text_variants: tuple[str, ...] = ()
    variant_memory_bytes: int = Field(default=VARIANT_MEMORY_BYTES, gt=0)

    @field_validator("moderation_text", "moderation_image", "voice")
    @classmethod
    def _empty_is_none(cls, name: str | None) -> str | None:
        return name or None

    @field_validator("text_batches", "vision_batches", mode="before")
    @classmethod
    def _left_out_stays(cls, given: Any, field: ValidationInfo) -> Any:
        default = cls.model_fields[str(field.field_name)].default
        return {**asdict(default), **given} if isinstance(given, dict) else given

    def specs(self, models_dir: Path) -> tuple[ModelSpec, ModelSpec, ModelSpec, ModelSpec]:
        """Of the models for vision, speech, text and OCR. Raises ``ModelUnavailable`` for one that there is not, or
        that is for something else.
        """
        vision, speech, text, ocr = (
            find(name, models_dir) for name in (self.vision, self.speech, self.text, self.ocr)
        )
        for spec, field, fits in (
            (vision, "vision", vision.task == "vision"),
            (speech, "speech", speech.task == "speech"),
            (text, "text", _embeds_texts(text)),
            (ocr, "ocr", ocr.task == "ocr"),
        ):
            if not fits:
                raise _unfit(spec, field)
        return vision, speech, text, ocr

    def variant_specs(self, models_dir: Path) -> tuple[ModelSpec, ...]:
        """Of the further text models. Raises as ``specs``, and ``ModelUnavailable`` for one that has no room."""
        specs = tuple(find(name, models_dir) for name in dict.fromkeys(self.text_variants))
        for spec in specs:
            if not _embeds_texts(spec):
                raise _unfit(spec, "text_variants")
            if spec.memory_bytes > self.variant_memory_bytes:
                raise ModelUnavailable(
                    f"The model '{spec.name}' takes {spec.memory_bytes >> 20} MiB, and "
                    f"encoders.variant_memory_bytes lets it have {self.variant_memory_bytes >> 20}: raise that, "
                    "or leave it out of encoders.text_variants."
                )
        return tuple(spec for spec in specs if spec.name != self.text)

    def moderation_specs(self, models_dir: Path) -> tuple[ModelSpec | None, ModelSpec | None]:
        """Of the models that judge texts and pictures, where they are set. Raises as ``specs``."""
        found: list[ModelSpec | None] = []
        for modality, name in (("text", self.moderation_text), ("image", self.moderation_image)):
            spec = None if name is None else find(name, models_dir)
            if spec is not None and not (spec.task == "moderation" and modality in spec.modalities):
                raise _unfit(spec, f"moderation_{modality}")
            found.append(spec)
        return found[0], found[1]

    def voice_spec(self, models_dir: Path) -> ModelSpec | None:
        """Of the voice, where one is set. Raises as ``specs``."""
        if self.voice is None:
            return None
        spec = find(self.voice, models_dir)
        if spec.task != "voice":
            raise _unfit(spec, "voice")
        return spec

    def text_tokenizer(self, models_dir: Path) -> Path | None:
        """The text model's tokenizer, where it has one in the usual form and is prepared."""
        try:
            file = find_directory(find(self.text, models_dir), models_dir) / "tokenizer.json"
        except ModelUnavailable:
            return None
        return file if file.is_file() else None


def _embeds_texts(spec: ModelSpec) -> bool:
    return spec.task == "text" or (spec.task == "vision" and "text" in spec.modalities)


def _unfit(spec: ModelSpec, field: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"The model '{spec.name}' is for {spec.task} ({', '.join(spec.modalities)}) and cannot be "
        f"encoders.{field}; `manymodal models available` lists what each model is for."
    )
