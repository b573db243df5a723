"""A decoded frame as it is meant to be seen: upright, square pixels, RGB of moderate size and ordinary range."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from encoders.decoding.tone import HLG, PQ, to_standard_range
from encoders.types import Pixels

__all__ = ["size_on_screen", "upright"]

_BT2020 = 9
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND


def size_on_screen(frame: Any, stream: Any) -> tuple[int, int]:
    """Width and height on screen: non-square pixels widened, then turned."""
    ratio = stream.sample_aspect_ratio
    shape = float(ratio) if ratio and 0.1 < float(ratio) < 10 else 1.0
    width, height = max(1, round(frame.width * shape)), frame.height
    return (height, width) if round(frame.rotation / 90) % 2 else (width, height)


def upright(frame: Any, stream: Any, max_side: int) -> Pixels:
    """RGB ``(h, w, 3)`` of the frame as displayed, its longer side at most ``max_side``.

    Matrix and range are those the video declares; where it declares none, BT.601 and limited, as FFmpeg, and
    with it what vision models were trained on, takes it.
    """
    width, height = size_on_screen(frame, stream)
    scale = min(1.0, max_side / max(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    turns = round(frame.rotation / 90) % 4
    if turns % 2:
        width, height = height, width
    high_range = frame.color_trc in (PQ, HLG)
    converted = VideoReformatter().reformat(
        frame, width, height, "rgb48le" if high_range else "rgb24", interpolation=_SCALING, threads=1
    )
    picture: Any = converted.to_ndarray()
    if high_range:
        picture = to_standard_range(picture, int(frame.color_trc), frame.color_primaries == _BT2020)
    return np.ascontiguousarray(np.rot90(picture, turns))
