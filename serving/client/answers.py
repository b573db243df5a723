"""What media, audio, video and the platform itself are answered with.

Answers keep what they do not know: fields of a newer server are in ``model_extra``.
"""

from __future__ import annotations

from typing import Any

from openai import BaseModel

__all__ = [
    "AudioUnderstanding",
    "Link",
    "ListedMedium",
    "LookAlike",
    "MediaDeleted",
    "MediaText",
    "Medium",
    "Pool",
    "PoolList",
    "RemovedData",
    "Tenant",
    "VideoAnalysis",
    "WarmedUp",
]


class LookAlike(BaseModel):
    """Another picture that looks alike: how many of 64 bits of their perceptual hashes differ."""

    id: str
    distance: int


class Medium(BaseModel):
    """A stored medium. What does not apply to its ``kind`` is ``None``."""

    id: str
    object: str
    kind: str
    bytes: int
    content_type: str
    filename: str | None
    purpose: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    frames_per_second: float | None
    has_audio: bool
    perceptual_hash: str | None
    near_duplicates: list[LookAlike] | None
    created_at: int
    expires_at: int | None
    url: str


class ListedMedium(BaseModel):
    """A medium in a list: what its record says. Its size and length are known by its id."""

    id: str
    object: str
    kind: str
    bytes: int
    content_type: str
    filename: str | None
    purpose: str
    perceptual_hash: str | None
    created_at: int
    expires_at: int | None
    url: str


class TextLine(BaseModel):
    """A line that was read, and its four corners in pixels of the upright picture, clockwise from top-left."""

    text: str
    confidence: float
    box: list[list[float]]


class MediaText(BaseModel):
    """What is written in a picture, in reading order; ``cache`` says whether it was known (``hit``, ``miss``)."""

    id: str
    object: str
    width: int
    height: int
    lines: list[TextLine]
    cache: str


class MediaDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: str
    deleted: bool


class Link(BaseModel):
    """An address that needs no key, until ``expires_at`` (seconds since 1970)."""

    object: str
    url: str
    expires_at: int


class WarmedUp(BaseModel):
    """How many results were loaded into the caches; not ``complete`` when they are full or the store failed."""

    object: str
    loaded: int
    loaded_bytes: int
    complete: bool
    not_found: list[str]


class Label(BaseModel):
    """What is seen in a picture, and how probable that is."""

    text: str
    probability: float


class Frame(BaseModel):
    """A frame that was looked at, and the stretch of time it stands for."""

    time_seconds: float
    reason: str
    labels: list[Label] | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    said: str | None = None


class VideoAnalysis(BaseModel):
    """The answer about a video. ``usage`` and ``manymodal`` are chat's."""

    id: str
    object: str
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
    """What was said; ``answer`` with a prompt, ``segments`` and ``words`` with timestamps."""

    id: str
    object: str
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


class Latency(BaseModel):
    """Seconds."""

    p50: float
    p95: float
    p99: float


class PoolCalls(BaseModel):
    """The calls of a deployment from the gateway that answers, since its start."""

    ongoing: int
    answered: int
    failed: int
    refused: int
    refused_open: int
    broken_off: int
    left: int
    retried: int
    breaker: str
    latency_seconds: Latency | None


class Pool(BaseModel):
    """A deployment, all its replicas on all machines."""

    name: str
    health: str
    replicas: dict[str, int]
    target_replicas: int | None
    calls: PoolCalls | None


class WaitingLine(BaseModel):
    """A queue of the gateway that answers."""

    waiting: int
    held: int
    slots: int


class PoolList(BaseModel):
    """All deployments, and the queues before them."""

    object: str
    data: list[Pool]
    queues: dict[str, WaitingLine]


class Tenant(BaseModel):
    """What holds for a tenant; ``is_default`` when it has no settings of its own."""

    id: str
    object: str
    is_default: bool
    limits: dict[str, int | None]
    moderation: dict[str, Any]


class RemovedData(BaseModel):
    """How much was removed of a tenant; ``cached_in_redis`` is ``None`` where Redis did not answer."""

    id: str
    object: str
    deleted: bool
    collections: int
    ingest_jobs: int
    batches: int
    responses: int
    files: int
    uploads: int
    objects: int
    cached_in_memory: int
    cached_in_redis: int | None
