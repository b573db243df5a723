"""Refusing a medium in words that name the request field it came in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from encoders.errors import EncoderError
from encoders.types import MediaInfo, MediaKind
from serving.errors import InvalidRequest, LimitExceeded, MediaKindMismatch, answer_for

__all__ = ["ANY_KIND", "as_expected", "in_field", "kind_mismatch", "naming", "no_medium", "too_large"]

ANY_KIND = frozenset(MediaKind)

_WORDS = {MediaKind.IMAGE: "an image", MediaKind.AUDIO: "audio", MediaKind.VIDEO: "a video"}


@contextmanager
def naming(param: str | None) -> Iterator[None]:
    """Let the encoders' refusals of a medium name the request field it came in."""
    try:
        yield
    except EncoderError as error:
        answer = answer_for(error)
        if param is None or answer is None or answer.status >= 500:
            raise
        raise InvalidRequest(
            f"The media{in_field(param)} was refused: {error.message}", param, answer.code
        ) from error


def as_expected(info: MediaInfo, expected: frozenset[MediaKind], param: str | None) -> MediaInfo:
    """``info``, that of an animated picture as a video's where a video is expected and a picture is not.

    Raises ``MediaKindMismatch`` when a medium turned out to be of another kind than was expected.
    """
    if info.animated and MediaKind.IMAGE not in expected and MediaKind.VIDEO in expected:
        return replace(info, kind=MediaKind.VIDEO)
    if info.kind not in expected:
        raise kind_mismatch(f"{_words(frozenset({info.kind}))} ({info.content_type})", expected, param)
    return info


def kind_mismatch(what: str, expected: frozenset[MediaKind], param: str | None) -> MediaKindMismatch:
    """The error for a medium that is ``what``."""
    return MediaKindMismatch(f"The media{in_field(param)} is {what}; {_words(expected)} was expected.", param)


def no_medium(content_type: str, param: str | None) -> InvalidRequest:
    """The error for a file that is none of the media."""
    return InvalidRequest(
        f"The file{in_field(param)} is {content_type}; only images, sound and video can be used here.",
        param,
        "unsupported_media",
    )


def too_large(limit_bytes: int, param: str | None) -> LimitExceeded:
    """The error for a medium over ``max_media_bytes``."""
    return LimitExceeded(f"The media is larger than {limit_bytes} bytes (max_media_bytes).", param)


def in_field(param: str | None) -> str:
    """`` in '<field>'``, if there is a field to name."""
    return f" in '{param}'" if param else ""


def _words(kinds: frozenset[MediaKind]) -> str:
    return " or ".join(_WORDS[kind] for kind in MediaKind if kind in kinds)
