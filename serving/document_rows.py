"""Rows of a collection out of what was perceived: which parts a document has, and what is said of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from encoders.types import ImageLabel, MediaInfo, TranscriptSegment
from fusion.types import PerceivedMedium
from search.types import Row, Vector
from serving.errors import InvalidRequest
from serving.passages import passages_of
from serving.retrieval.filters import RESERVED_NAMES
from storage.types import MediaRef

__all__ = [
    "FRAMES_KEY",
    "WRITTEN_KEY",
    "label_text",
    "media_rows",
    "mixed_row",
    "own_metadata",
    "passages",
    "shown_metadata",
    "spoken",
    "text_rows",
    "without_facts",
    "written_text",
]

FRAMES_KEY = "frames"
"""Metadata of a video: how many of its parts, from the first, are frames; the others are passages of speech.
"""

WRITTEN_KEY = "written_characters"
"""Metadata of a medium with a text of one's own: how many characters of its part's text, from the first, that is.
What the models found in the medium follows.
"""

_INTERNAL = frozenset({FRAMES_KEY, WRITTEN_KEY})
_RESERVED = _INTERNAL | {"uploaded_at", "resolution", "duration"} | RESERVED_NAMES
_MIN_LABEL_PROBABILITY = 0.05
_MAX_LABELS = 5


def text_rows(
    document: str,
    text: str,
    parts: Sequence[str],
    vectors: Sequence[Vector],
    metadata: Mapping[str, Any],
) -> tuple[Row, ...]:
    """A text's passages (``passages``) with their vectors. Raises ``InvalidRequest`` as ``own_metadata`` does."""
    facts = {**own_metadata(metadata), "uploaded_at": datetime.now(UTC).isoformat(timespec="seconds")}
    content_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return tuple(
        Row(
            document,
            "text",
            vector,
            part_index=index,
            text=passage,
            metadata=facts,
            content_hash=content_hash,
        )
        for index, (passage, vector) in enumerate(zip(parts, vectors, strict=True))
    )


def media_rows(
    document: str,
    ref: MediaRef,
    created_at_seconds: float,
    perceived: PerceivedMedium,
    speech_vectors: Sequence[Vector],
    metadata: Mapping[str, Any],
) -> tuple[Row, ...]:
    """An image's one part, a video's frames and speech, a recording's speech.

    ``speech_vectors`` are of the passages that ``spoken`` gives. Raises ``InvalidRequest`` when there is nothing
    to search in the medium, and as ``own_metadata`` does.
    """
    facts = {**own_metadata(metadata), **_facts(perceived.info, created_at_seconds)}
    parts: list[tuple[Vector, float | None, float | None, str]] = []
    if perceived.image is not None:
        text = "\n".join([label_text(perceived.image.labels), *(line.text for line in perceived.text_lines)])
        parts.append((perceived.image.embedding, None, None, text.strip()))
    if perceived.video is not None:
        frames = perceived.video.frames
        facts[FRAMES_KEY] = len(frames)
        ends = [frame.time_seconds for frame in frames[1:]] + [perceived.video.duration_seconds]
        for frame, end in zip(frames, ends, strict=True):
            # The last frame may lie at or past the container's stated end.
            end = max(end, frame.time_seconds)
            parts.append((frame.embedding, frame.time_seconds, end, label_text(frame.labels)))
    for segment, vector in zip(spoken(perceived), speech_vectors, strict=True):
        parts.append((vector, segment.start_seconds, segment.end_seconds, segment.text.strip()))
    if not parts:
        raise InvalidRequest(
            "Nothing in this medium can be searched: no speech was found in it.",
            "media_id",
            "nothing_to_index",
        )
    return tuple(
        Row(
            document,
            perceived.info.kind.value,
            vector,
            part_index=index,
            start_seconds=start,
            end_seconds=end,
            text=text,
            media_id=ref.id,
            metadata=facts,
            content_hash=ref.sha256,
        )
        for index, (vector, start, end, text) in enumerate(parts)
    )


def mixed_row(
    document: str,
    ref: MediaRef,
    created_at_seconds: float,
    perceived: PerceivedMedium,
    text: str,
    vector: Vector,
    metadata: Mapping[str, Any],
) -> Row:
    """The one part of a document that is a medium and a text together, with their common ``vector``.

    Words are looked for in the text and in what was found in the medium. Raises ``InvalidRequest`` as
    ``own_metadata`` does.
    """
    facts = {**own_metadata(metadata), **_facts(perceived.info, created_at_seconds), WRITTEN_KEY: len(text)}
    both = hashlib.sha256(ref.sha256.encode() + text.encode("utf-8", "surrogatepass"))
    return Row(
        document,
        perceived.info.kind.value,
        vector,
        text="\n".join([text, *_words(perceived)]),
        media_id=ref.id,
        metadata=facts,
        content_hash=both.hexdigest(),
    )


def written_text(text: str, metadata: Mapping[str, Any]) -> str | None:
    """The text of one's own in a part of a medium; ``None`` if it has none."""
    length = metadata.get(WRITTEN_KEY)
    return text[: int(length)] if isinstance(length, int | float) else None


def shown_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row's metadata without what only the platform has a use for."""
    return {name: value for name, value in metadata.items() if name not in _INTERNAL}


def own_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The client's metadata: scalars under names that the platform does not set itself, else ``InvalidRequest``."""
    for name, value in metadata.items():
        if name in _RESERVED:
            raise InvalidRequest(f"The metadata name '{name}' is reserved.", f"metadata.{name}")
        if value is not None and not isinstance(value, str | int | float | bool):
            raise InvalidRequest("Metadata values must be strings, numbers or booleans.", f"metadata.{name}")
    return {name: value for name, value in metadata.items() if value is not None}


def without_facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row's metadata without what the platform has set."""
    return {name: value for name, value in metadata.items() if name not in _RESERVED}


def spoken(perceived: PerceivedMedium) -> list[TranscriptSegment]:
    """The passages of speech that have words."""
    segments = perceived.transcript.segments if perceived.transcript is not None else ()
    return [segment for segment in segments if segment.text.strip()]


def label_text(labels: Sequence[ImageLabel]) -> str:
    """What a picture shows, in words."""
    return ", ".join(
        label.text for label in labels[:_MAX_LABELS] if label.probability >= _MIN_LABEL_PROBABILITY
    )


def passages(text: str) -> Iterator[str]:
    """The passages that a text is read in (``serving.passages``)."""
    return (passage.text for passage in passages_of(text))


def _words(perceived: PerceivedMedium) -> list[str]:
    """What was found in a medium, in words."""
    words: list[str] = []
    if perceived.image is not None:
        words += [label_text(perceived.image.labels), *(line.text for line in perceived.text_lines)]
    if perceived.video is not None:
        words += dict.fromkeys(label_text(frame.labels) for frame in perceived.video.frames)
    words += [segment.text.strip() for segment in spoken(perceived)]
    return [word for word in words if word]


def _facts(info: MediaInfo, created_at_seconds: float) -> dict[str, Any]:
    created_at = datetime.fromtimestamp(created_at_seconds, UTC).isoformat(timespec="seconds")
    facts: dict[str, Any] = {"uploaded_at": created_at}
    if info.width and info.height:
        facts["resolution"] = f"{info.width}x{info.height}"
    if info.duration_seconds is not None:
        facts["duration"] = info.duration_seconds
    return facts
