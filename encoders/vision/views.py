"""Which parts of a picture a small classifier looks at, and how they become its squares."""

from __future__ import annotations

import numpy as np

from encoders.types import Pixels, Quality

__all__ = ["Box", "view_boxes", "views"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_CENTRE = 0.6


def view_boxes(width: int, height: int, quality: Quality) -> tuple[Box, ...]:
    """The whole picture; at best quality also the square at each end and the middle 60 % of it.

    The squares keep proportions, the middle shows what is small. A square picture's end squares are itself.
    """
    whole = (0, 0, width, height)
    if quality is Quality.FAST:
        return (whole,)
    side = min(width, height)
    across, down = max(1, round(width * _CENTRE)), max(1, round(height * _CENTRE))
    left, top = (width - across) // 2, (height - down) // 2
    return (
        whole,
        (0, 0, side, side),
        (width - side, height - side, width, height),
        (left, top, left + across, top + down),
    )


def views(image: Pixels, quality: Quality, side: int) -> Pixels:
    """The views of an RGB picture, each squeezed to a square: uint8 ``(views, side, side, 3)``.

    Pillow's bicubic, which filters when shrinking.
    """
    height, width = image.shape[:2]
    boxes = view_boxes(width, height, quality)
    if image.shape == (side, side, 3) and len(boxes) == 1:
        return image[None]
    from PIL import Image

    picture = Image.fromarray(image)
    squares: dict[Box, Pixels] = {}
    for box in boxes:
        if box not in squares:
            square = picture.resize((side, side), Image.Resampling.BICUBIC, box=box)
            squares[box] = np.asarray(square)
    return np.stack([squares[box] for box in boxes])
