"""What encoders take and give: media facts, labels, text lines, frames, transcripts, embeddings.

Plain frozen dataclasses: they cross process boundaries by pickle and are written to the object store as
MessagePack (``serving.artifact_codec``). Nothing here imports a model framework, so the gateway may import
this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Embeddings",
    "EncodedFrame",
    "EncodedImage",
    "EncodedVideo",
    "FrameSampling",
    "ImageLabel",
    "MediaInfo",
    "MediaKind",
    "ModelSpec",
    "TextLine",
    "TranscribeOptions",
    "Transcript",
    "TranscriptSegment",
    "TranscriptWord",
    "Vector",
]

Vector = NDArray[np.float32]


class MediaKind(StrEnum):
    """The three kinds of media the platform perceives."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts read from a medium's header, before anything is decoded.

    ``width`` and ``height`` are pixels as displayed (after EXIF or rotation metadata). Fields that do not
    apply to the kind are ``None`` (``False`` for ``has_audio``).
    """

    kind: MediaKind
    content_type: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frames_per_second: float | None = None
    has_audio: bool = False


@dataclass(frozen=True, slots=True)
class ImageLabel:
    """One class name a picture was given, with its probability in [0, 1]."""

    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A picture as the vision encoder sees it.

    ``labels`` are sorted by falling probability. ``embedding`` is float32, shape ``(dimensions,)``, L2 norm 1,
    in the platform's shared text space.
    """

    labels: tuple[ImageLabel, ...]
    embedding: Vector
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One sampled video frame: presentation time, why it was sampled, and what was seen."""

    time_seconds: float
    reason: str
    labels: tuple[ImageLabel, ...]
    embedding: Vector


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """A video as a time-ordered tuple of encoded frames."""

    duration_seconds: float
    frames: tuple[EncodedFrame, ...]


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """How frames are chosen. ``method`` is ``uniform`` here; further methods come with the encoders' issue."""

    method: str = "uniform"
    max_frames: int = 16


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text found in a picture.

    ``box`` is four ``(x, y)`` corners in pixels of the upright picture, clockwise from top-left.
    """

    text: str
    confidence: float
    box: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """What a caller may ask of a transcription. ``language`` is ISO-639-1; ``None`` detects it."""

    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class TranscriptWord:
    """One spoken word with its times."""

    start_seconds: float
    end_seconds: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A run of speech. ``words`` always carries word times."""

    start_seconds: float
    end_seconds: float
    text: str
    average_log_probability: float
    no_speech_probability: float
    compression_ratio: float
    temperature: float
    tokens: tuple[int, ...]
    words: tuple[TranscriptWord, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. Silence gives no segments."""

    language: str
    duration_seconds: float
    segments: tuple[TranscriptSegment, ...]

    @property
    def text(self) -> str:
        """The segments' texts joined into one string, outer space removed."""
        return "".join(segment.text for segment in self.segments).strip()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A batch of embeddings: ``vectors`` is float32 ``(n, dimensions)``, rows of L2 norm 1, input order kept.

    ``token_counts`` is how many tokens the encoder read of each text, without padding.
    """

    vectors: Vector
    token_counts: tuple[int, ...]

    @property
    def token_count(self) -> int:
        """Tokens read in all."""
        return sum(self.token_counts)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model file in ``encoders/models/`` says of itself without loading anything.

    ``revision`` changes when weights change, ``preprocessing`` when the input path or the meaning of an output
    changes: both are part of every cache key. ``packages`` are the Python distributions that carry the
    weights, ``extra`` is free-form facts for the model's own file, for preparing it (``encoders.registry`` lists
    the keys with a meaning there) and for whoever reads the code.
    """

    name: str
    task: str
    modalities: tuple[str, ...]
    dimensions: int | None
    licence: str
    revision: str
    preprocessing: str
    packages: tuple[str, ...] = ()
    hub_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
