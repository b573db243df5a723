"""Views of pictures and frames of videos where a decoder takes so many pictures in one prompt, and no more."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.types import MediaKind
from fusion.budget import spread
from serving.errors import LimitExceeded

__all__ = ["frames_shown"]


def frames_shown(kinds: Sequence[MediaKind], frames: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Of each video, by number, the frames that may be shown among ``most`` pictures, evenly spread.

    ``kinds`` are those of a request's media, ``frames`` how many each has. Videos share what pictures leave. Raises
    ``LimitExceeded`` when not every picture and video can be shown.
    """
    pictures, videos = (sum(one is kind for one in kinds) for kind in (MediaKind.IMAGE, MediaKind.VIDEO))
    if pictures + videos > most:
        raise LimitExceeded(
            f"The request brings {pictures + videos} pictures and videos; the model takes at most {most} pictures "
            "in one prompt, frames of videos included.",
            "messages",
        )
    each = (most - pictures) // videos if videos else 0
    return [
        spread(count, min(count, each)) if kind is MediaKind.VIDEO and count else ()
        for kind, count in zip(kinds, frames, strict=True)
    ]
