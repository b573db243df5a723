"""Wire schemas of ``POST /v1/video/analyze`` and ``POST /v1/audio/transcribe``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

__all__ = [
    "AudioUnderstanding",
    "AudioUnderstandingRequest",
    "MediumQuestion",
    "VideoAnalysis",
    "VideoAnalysisRequest",
]

_Reference = Annotated[StrictStr, Field(min_length=1)]


class MediumQuestion(BaseModel):
    """What both routes take: a stored medium by its id, the chat model, and how it answers.

    As JSON, or as the fields of a multipart form, numbers and ``true`` and ``false`` in their usual spelling.
    """

    model_config = ConfigDict(extra="forbid")
    file_id: Annotated[StrictStr, Field(min_length=1, max_length=128)] | None = None
    model: StrictStr = "default"
    stream: StrictBool = False
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    temperature: Annotated[StrictFloat | StrictInt, Field(ge=0, le=2)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None


class VideoAnalysisRequest(MediumQuestion):
    """A video (``video_url``, ``file_id``, or the form's ``video_file``), and what is asked about it."""

    video_url: _Reference | None = None
    prompt: Annotated[StrictStr, Field(min_length=1)] = "Tell what happens in this video, in order."
    frame_sampling: Literal["uniform", "keyframes", "scene"] = "uniform"
    max_frames: Annotated[StrictInt, Field(ge=1, le=128)] = 20


class AudioUnderstandingRequest(MediumQuestion):
    """Sound, or a video with sound (``audio_url``, ``file_id``, or the form's ``audio_file``), and with ``prompt``
    what the chat model is to do with what was said.
    """

    audio_url: _Reference | None = None
    prompt: Annotated[StrictStr, Field(min_length=1)] | None = None
    language: Annotated[StrictStr, Field(max_length=32)] | None = None
    include_timestamps: StrictBool = False
    format: Literal["text", "json", "srt"] = "json"


class Frame(BaseModel):
    """A frame that was looked at: when, why it was chosen, what was seen; the stretch of the video it stands for,
    and what is said then, where these are known.
    """

    time_seconds: float
    reason: str
    labels: list[dict[str, Any]] = []
    start_seconds: float | None = None
    end_seconds: float | None = None
    said: str | None = None


class VideoAnalysis(BaseModel):
    """The answer about a video. ``usage`` and ``manymodal`` are chat's."""

    id: str
    object: Literal["video.analysis"] = "video.analysis"
    created: int
    model: str
    video_id: str
    duration_seconds: float | None
    answer: str
    finish_reason: str | None
    frames: list[Frame]
    seconds_heard: float
    usage: dict[str, Any]
    manymodal: dict[str, Any]


class SpokenSegment(BaseModel):
    """A passage of speech, in seconds."""

    start: float
    end: float
    text: str


class SpokenWord(BaseModel):
    """A word, in seconds."""

    start: float
    end: float
    word: str


class AudioUnderstanding(BaseModel):
    """What was said (``text``), with a prompt the ``answer``, with times ``segments`` and ``words``.

    With an answer ``usage`` is chat's, else ``{"type": "duration", "seconds"}``.
    """

    id: str
    object: Literal["audio.understanding"] = "audio.understanding"
    created: int
    model: str
    audio_id: str
    language: str
    duration_seconds: float
    text: str
    segments: list[SpokenSegment] | None = None
    words: list[SpokenWord] | None = None
    answer: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any]
    manymodal: dict[str, Any]
