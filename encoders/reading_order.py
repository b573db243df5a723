"""The order in which a person reads the lines of a page: column by column, rows of a table from left to right.

The method is the topological sort of T. M. Breuel, *High Performance Document Layout Analysis* (2003), section
4: of two lines ``a`` and ``b``

1. ``a`` comes first when it lies above ``b`` and the two overlap horizontally (one column);
2. ``a`` comes first when it lies wholly to the left of ``b``, unless a third line between them in height
   overlaps both horizontally: a heading across two columns ends the columns above it.

Unlike a recursive XY-cut (Nagy and Seth 1984) it needs no gap through the whole page, so a picture, a heading
or a caption that reaches into the next column does not spoil it. Two things are added.

* The page is turned first by the lines' own direction (their length-weighted mean), so scans that lie askew, on
  their side or upside down are read as if they stood upright.
* Pieces side by side are joined into a row before sorting in two cases. One of them stands in a column of
  short pieces (at most five times as wide as high in the median: about ten letters), which is what tables and
  forms look like. Or the gap is small and most of the lines just above and below run across it: then the
  detector has split a line at a wide space. Columns of prose are wider, and nothing runs across their gutter.

Columns are taken from left to right, which is wrong for Arabic and Hebrew.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["reading_order"]

_SAME_LINE = 0.5  # of the lower piece's height
_SMALL_GAP = 2.0  # line heights; 1 where no other line is near
_NEAR = 1.0  # line heights
_CELL_ASPECT = 5.0  # width over height
_COLUMN = 0.5  # of the narrower width: a caption that reaches into a column a little is not in it
_MARGIN = 0.1  # of the narrower width: less overlap is only what the detector adds around a line

_Floats = NDArray[np.float64]
_Flags = NDArray[np.bool_]


def reading_order(boxes: ArrayLike) -> tuple[int, ...]:
    """Indices of the boxes in reading order, each exactly once.

    ``boxes`` is ``(n, 4, 2)``: the corners of each line as it is read, clockwise from the text's own top-left,
    in pixels. The order of the input does not matter.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4, 2)
    if len(corners) < 2:
        return tuple(range(len(corners)))
    # Sorted by place at once: everything after it is the same for every order of the input.
    by_place = np.lexsort(corners.reshape(-1, 8).T[::-1])
    extents = _upright(corners[by_place])
    rows = _rows(extents)
    order = _sorted(np.array([_around(extents[row]) for row in rows]))
    return tuple(int(by_place[member]) for index in order for member in rows[index])


def _upright(corners: _Floats) -> _Floats:
    """Left, top, right, bottom ``(n, 4)`` of the boxes after turning the page by the lines' direction."""
    along = (corners[:, 1] - corners[:, 0]) + (corners[:, 2] - corners[:, 3])
    angle = math.atan2(float(along[:, 1].sum()), float(along[:, 0].sum()))
    cosine, sine = math.cos(angle), math.sin(angle)
    x = corners[..., 0] * cosine + corners[..., 1] * sine
    y = corners[..., 1] * cosine - corners[..., 0] * sine
    low, high = np.stack([x.min(1), y.min(1)], axis=1), np.stack([x.max(1), y.max(1)], axis=1)
    return np.concatenate([low, np.maximum(high, low + 1e-3)], axis=1)  # a point has an extent too


def _around(extents: _Floats) -> _Floats:
    return np.concatenate([extents[:, :2].min(0), extents[:, 2:].max(0)])


def _shared(low: _Floats, high: _Floats) -> _Floats:
    """How much of the shorter of two ranges they share, for all pairs ``(n, n)``; negative: the gap."""
    both = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    length = high - low
    return np.asarray(both / np.minimum(length[:, None], length[None]))


def _rows(extents: _Floats) -> list[list[int]]:
    """Pieces that are read as one line, each row from left to right."""
    left, top, right, bottom = extents.T
    height = bottom - top
    shared = _shared(left, right)
    level = _shared(top, bottom)
    aspects = (right - left) / height
    in_cells = np.array([np.median(aspects[line]) <= _CELL_ASPECT for line in shared > _COLUMN])
    beside = (level > _SAME_LINE) & (shared <= _MARGIN)
    row_of = list(range(len(extents)))

    def root(index: int) -> int:
        while row_of[index] != index:
            index = row_of[index]
        return index

    def is_split(a: int, b: int) -> bool:
        line_height = min(height[a], height[b])
        gap = left[b] - right[a]
        if gap >= _SMALL_GAP * line_height:
            return False
        touching = (shared[a] > _MARGIN) | (shared[b] > _MARGIN)
        distance = np.maximum(np.maximum(top[a] - bottom, top - bottom[a]), 0.0)
        near = touching & (distance < _NEAR * line_height) & (level[a] <= _SAME_LINE)
        if not near.any():
            return bool(gap < line_height)
        across = (shared[a] > _MARGIN) & (shared[b] > _MARGIN)
        return bool(across[near].mean() > 0.5)

    for a in range(len(extents)):
        followers = np.flatnonzero(beside[a] & (left > left[a]))
        if not len(followers):
            continue
        b = int(followers[np.argmin(left[followers])])  # its neighbour: nothing lies between them
        if in_cells[a] or in_cells[b] or is_split(a, b):
            row_of[root(b)] = root(a)
    rows: dict[int, list[int]] = {}
    for index in range(len(extents)):
        rows.setdefault(root(index), []).append(index)
    return [sorted(row, key=lambda index: (left[index], index)) for row in rows.values()]


def _sorted(extents: _Floats) -> Sequence[int]:
    """Breuel's two rules and a topological sort; where they contradict each other, the highest goes first."""
    left, top, right, bottom = extents.T
    ranked = np.lexsort((right, bottom, left, top + bottom))  # by height of the middle
    left, right = left[ranked], right[ranked]
    count = len(ranked)
    column = _shared(left, right) > _COLUMN
    np.fill_diagonal(column, False)
    place = np.arange(count)
    # 1: above in the same column. Places are ranks of height, so "above" is a smaller place.
    before = column & (place[:, None] < place[None])
    # 2: to the left, and nothing between in height that overlaps both.
    aside = ~column & (left[:, None] + right[:, None] < left[None] + right[None])
    for a in range(count):
        before[a] |= aside[a] & ~_parted(column, a)
    return [int(ranked[index]) for index in _topological(before)]


def _parted(column: _Flags, a: int) -> _Flags:
    """For every line whether one between it and ``a`` in height overlaps both."""
    count = len(column)
    parted = np.zeros(count, dtype=np.bool_)
    below = np.flatnonzero(column[a, a + 1 :]) + a + 1
    if len(below):
        overlapping = column[below]
        first = np.where(overlapping.any(0), below[overlapping.argmax(0)], count)
        parted |= first < np.arange(count)
    above = np.flatnonzero(column[a, :a])[::-1]
    if len(above):
        overlapping = column[above]
        last = np.where(overlapping.any(0), above[overlapping.argmax(0)], -1)
        parted |= last > np.arange(count)
    return parted


def _topological(before: _Flags) -> list[int]:
    waiting_for = before.sum(axis=0)
    ready = [int(index) for index in np.flatnonzero(waiting_for == 0)]
    left = set(range(len(before)))
    order: list[int] = []
    while left:
        index = heapq.heappop(ready) if ready else min(left)  # a circle of rules: the highest
        if index not in left:
            continue
        left.remove(index)
        order.append(index)
        for follower in np.flatnonzero(before[index]):
            waiting_for[follower] -= 1
            if waiting_for[follower] == 0 and int(follower) in left:
                heapq.heappush(ready, int(follower))
    return order
