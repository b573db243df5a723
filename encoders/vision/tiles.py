"""High-resolution pictures as several views: the whole picture at the model's size, and tiles of it.

A fixed-size vision tower sees a 4K picture at 224 or 336 pixels, so small things vanish. As LLaVA-NeXT (AnyRes) and
InternVL do, the picture is also cut into a grid near its own aspect ratio, and each tile is looked at in full.
Tiles are squares that overlap a little rather than rectangles that just touch: every tower here reads squares,
and a rectangle would be squeezed or lose its ends to the centre crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from encoders.types import ImageTokens, Vector

__all__ = ["Box", "TilePlan", "combine_tokens", "combine_vectors", "tile_boxes"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""

_WHOLE_SHARE = 0.5  # of a combined vector: what the picture is about, against what is in its corners


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How many tiles a picture may become, and how many pixels of it a tile should hold at least.

    ``side`` 0 takes the model's own input side: a picture no larger than that has nothing more to show and gets no
    tiles.
    """

    max_tiles: int = 6
    side: int = 0


def tile_boxes(width: int, height: int, plan: TilePlan, model_side: int) -> tuple[Box, ...]:
    """The tiles of a picture in reading order; none where one view shows all there is.

    The grid is the one whose aspect ratio is nearest to the picture's, of those that have at most
    ``plan.max_tiles`` tiles and no more columns or rows than squares of ``side`` pixels need to cover the picture;
    among equals the one with more tiles. Together the tiles cover every pixel.
    """
    side = plan.side or model_side
    most_columns, most_rows = math.ceil(width / side), math.ceil(height / side)
    best: tuple[float, int, int, int] | None = None
    for columns in range(1, most_columns + 1):
        for rows in range(1, most_rows + 1):
            if not 1 < columns * rows <= plan.max_tiles:
                continue
            misfit = round(abs(math.log((columns / rows) / (width / height))), 6)
            if best is None or (misfit, -columns * rows) < best[:2]:
                best = (misfit, -columns * rows, columns, rows)
    if best is None:
        return ()
    columns, rows = best[2:]
    edge = math.ceil(max(width / columns, height / rows))
    if edge <= min(width, height):
        tile_width = tile_height = edge
    else:  # longer than any grid: squares would not cover it
        tile_width, tile_height = math.ceil(width / columns), math.ceil(height / rows)
    lefts, tops = _starts(width, tile_width, columns), _starts(height, tile_height, rows)
    return tuple((left, top, left + tile_width, top + tile_height) for top in tops for left in lefts)


def _starts(length: int, tile: int, count: int) -> list[int]:
    """Where ``count`` tiles begin so that the first and last touch the ends."""
    return [round(index * (length - tile) / max(count - 1, 1)) for index in range(count)]


def combine_vectors(vectors: Vector) -> Vector:
    """One L2-normalised vector ``(dimensions,)`` of a picture's views ``(views, dimensions)``, the first of
    them whole.

    The mean in which the whole picture weighs as much as all its tiles together.
    """
    if len(vectors) == 1:
        return _normalised(vectors[0])
    mean = _WHOLE_SHARE * vectors[0] + (1 - _WHOLE_SHARE) * vectors[1:].mean(axis=0)
    return _normalised(mean)


def combine_tokens(tokens: ImageTokens, mode: str) -> Vector:
    """A picture's views as one sequence of tokens ``(n, width)``.

    ``concat``: all views' tokens one after the other. ``mean``: at each place of the grid the mean over views.
    ``attention``: each token of the whole picture attends over the tokens of all views (softmax of the scaled dot
    product, without learned weights), so it takes detail from whichever tile shows the same thing. Raises
    ``ValueError`` for another mode.
    """
    views, _, width = tokens.tokens.shape
    everything = tokens.tokens.reshape(-1, width)
    if mode == "concat":
        return everything
    if mode == "mean":
        return np.asarray(tokens.tokens.mean(axis=0), dtype=np.float32)
    if mode != "attention":
        raise ValueError(f"Tokens are combined by 'concat', 'mean' or 'attention', not by '{mode}'.")
    if views == 1:
        return everything
    scores = tokens.tokens[0] @ everything.T / math.sqrt(width)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray((weights / weights.sum(axis=1, keepdims=True)) @ everything, dtype=np.float32)


def _normalised(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)
