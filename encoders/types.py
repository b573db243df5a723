"""What encoders take and give: media facts, labels, text lines, frames, transcripts, embeddings.

Plain frozen dataclasses: they cross process boundaries by pickle and are written to the object store as
MessagePack (``serving.artifact_codec``). Nothing here imports a model framework, so the gateway may import
this module. What is said and heard is in ``encoders.speech.types`` and offered here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.speech.types import (
    LanguageGuess,
    SpeakOptions,
    Spoken,
    TranscribeOptions,
    Transcript,
    TranscriptBegun,
    TranscriptPart,
    TranscriptSegment,
    TranscriptWord,
    VoiceActivity,
)

__all__ = [
    "AudioTokens",
    "Embeddings",
    "EncodedFrame",
    "EncodedImage",
    "EncodedVideo",
    "Film",
    "FrameSampling",
    "ImageLabel",
    "ImageTokens",
    "LanguageGuess",
    "MediaInfo",
    "MediaKind",
    "ModelSpec",
    "Pixels",
    "Quality",
    "SamplingMethod",
    "SeenMedium",
    "Sound",
    "SpeakOptions",
    "Spoken",
    "TextLine",
    "TranscribeOptions",
    "Transcript",
    "TranscriptBegun",
    "TranscriptPart",
    "TranscriptSegment",
    "TranscriptWord",
    "Vector",
    "VideoSummary",
    "VideoTokens",
    "VoiceActivity",
]

Vector = NDArray[np.float32]

Pixels = NDArray[np.uint8]
"""An upright RGB picture, ``(height, width, 3)``."""

Sound = NDArray[np.float32]
"""Mono sound at 16 kHz in [-1, 1], ``(samples,)``."""


class MediaKind(StrEnum):
    """The three kinds of media the platform perceives."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class Quality(StrEnum):
    """What a vision model spends on a picture: one look, or several views of it."""

    FAST = "fast"
    BEST = "best"


class SamplingMethod(StrEnum):
    """How frames of a video are chosen.

    ``uniform``: the middles of equal stretches. ``fps``: so many a second. ``keyframes``: the encoder's own
    I-frames, without decoding the others. ``scene``: the middle of each scene.
    """

    UNIFORM = "uniform"
    FPS = "fps"
    KEYFRAMES = "keyframes"
    SCENE = "scene"


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts read from a medium's header, before anything is decoded.

    ``width`` and ``height`` are pixels as displayed (after EXIF or rotation metadata). Fields that do not
    apply to the kind are ``None`` (``False`` for ``has_audio``). ``animated`` says that a picture (GIF, APNG,
    WebP, AVIF) has several frames, so that it can be looked at as a video too.
    """

    kind: MediaKind
    content_type: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frames_per_second: float | None = None
    has_audio: bool = False
    animated: bool = False


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
class SeenMedium:
    """What a medium's header says, and how the vision encoder sees it if it is a picture."""

    info: MediaInfo
    image: EncodedImage | None


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One sampled video frame: presentation time, why it was sampled, and what was seen."""

    time_seconds: float
    reason: str
    labels: tuple[ImageLabel, ...]
    embedding: Vector


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """A video as a time-ordered tuple of encoded frames.

    ``near_duplicates`` is how many chosen frames were left out because they showed the same as the one before, and
    ``repeat_times_seconds`` when; ``scene_changes_seconds``: see ``VideoSummary``.
    """

    duration_seconds: float
    frames: tuple[EncodedFrame, ...]
    near_duplicates: int = 0
    repeat_times_seconds: tuple[float, ...] = ()
    scene_changes_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """Which frames of a video are looked at, never more than ``max_frames``.

    ``frames_per_second`` belongs to the method ``fps`` alone; more than ``max_frames`` of them are thinned
    evenly. ``start_seconds`` and ``end_seconds`` bound the part that is looked at. Frames come with their longer
    side at most ``max_side`` pixels.
    """

    method: str = SamplingMethod.UNIFORM
    max_frames: int = 16
    frames_per_second: float = 1.0
    start_seconds: float = 0.0
    end_seconds: float | None = None
    drop_near_duplicates: bool = True
    max_side: int = 768


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What is known of a video once its frames were sampled.

    ``repeat_times_seconds`` are the times of the chosen frames that were left out because they showed the same as
    the last one kept; ``near_duplicates`` is how many. ``scene_changes_seconds`` is when new scenes begin, in
    order; only the method ``scene`` looks for them.
    """

    duration_seconds: float
    near_duplicates: int = 0
    repeat_times_seconds: tuple[float, ...] = ()
    scene_changes_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """Patch token embeddings of one picture, not normalised: the vision tower's last layer.

    ``tokens`` is float32 ``(views, patches, width)``; view 0 is the whole picture, the others are the tiles of
    ``boxes`` (left, top, right, bottom in pixels of the upright picture) in reading order.
    """

    tokens: Vector
    boxes: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class VideoTokens:
    """Patch token embeddings of sampled frames: ``tokens`` is float32 ``(frames, patches, width)``, with each
    frame's time and why it was sampled. The last two: see ``VideoSummary``.
    """

    tokens: Vector
    times_seconds: tuple[float, ...]
    reasons: tuple[str, ...]
    duration_seconds: float
    near_duplicates: int = 0
    repeat_times_seconds: tuple[float, ...] = ()
    scene_changes_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Film:
    """Sampled frames of a video as pixels: ``frames`` is uint8 ``(frames, height, width, 3)``, RGB, upright.

    The last two: see ``VideoSummary``.
    """

    frames: Pixels
    times_seconds: tuple[float, ...]
    reasons: tuple[str, ...]
    duration_seconds: float
    near_duplicates: int = 0
    repeat_times_seconds: tuple[float, ...] = ()
    scene_changes_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioTokens:
    """A speech encoder's output: ``tokens`` float32 ``(n, width)`` without those of padding, ``pooled`` their
    L2-normalised mean ``(width,)``. Token ``i`` begins at ``i * seconds_per_token``.
    """

    tokens: Vector
    pooled: Vector
    seconds_per_token: float


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text found in a picture.

    ``box`` is four ``(x, y)`` corners in pixels of the upright picture, clockwise from top-left.
    """

    text: str
    confidence: float
    box: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A batch of embeddings: ``vectors`` is float32 ``(n, dimensions)``, rows of L2 norm 1, input order kept.

    ``token_counts`` is how many tokens the encoder read of each text, without padding. ``chunk_counts`` says into
    how many pieces each text was cut because it was longer than the encoder reads; the pieces' vectors were
    averaged, weighted by their tokens. 1 each when empty.
    """

    vectors: Vector
    token_counts: tuple[int, ...]
    chunk_counts: tuple[int, ...] = ()

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
    the keys with a meaning there) and for whoever reads the code. ``memory_bytes`` is what the loaded model takes
    at most on the CPU, a batch at work included; it is held against the machine's memory before loading.
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
    memory_bytes: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
