"""Frames of animated pictures (GIF, APNG, WebP, AVIF) at chosen times, as those of a video.

One loop is looked at. Pillow composes the frames (what stays from the one before, what is disposed of), so frames
are decoded in order from the first; two full-size pictures are held.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from encoders.config import DecodeLimits
from encoders.decoding.frame_times import frame_seconds
from encoders.decoding.image import check_pixels, finished, open_image
from encoders.decoding.near_duplicates import NearDuplicates
from encoders.decoding.sampling import (
    FEWEST,
    KEYFRAME,
    SCENE,
    Wanted,
    check_sampling,
    filled,
    middles,
    stretch,
    thinned,
    timed,
)
from encoders.decoding.scenes import SceneFinder
from encoders.decoding.sniff import Sniffed
from encoders.decoding.video import SampledFrame
from encoders.errors import CorruptMedia, MediaTooLarge
from encoders.types import FrameSampling, Pixels, SamplingMethod, VideoSummary

__all__ = ["animated_frames", "is_animated"]

_SCENE_SIDE = 160
_SAME_SECONDS = 1e-6


def is_animated(file: BinaryIO, sniffed: Sniffed) -> bool:
    """Whether a picture has more than one frame."""
    return len(frame_seconds(file, sniffed)) > 1


def animated_frames(
    file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits, sampling: FrameSampling
) -> Iterator[SampledFrame | VideoSummary]:
    """At most ``max_frames`` distinct frames in order of time, each as it is decoded; the summary comes last.

    Methods as for videos. All frames build on others here, so ``keyframes`` means the first, filled up with
    frames between. A partly broken file gives what decodes; ``CorruptMedia`` when that is nothing,
    ``MediaTooLarge`` when it runs longer than a video may.
    """
    check_sampling(sampling)
    lengths = frame_seconds(file, sniffed)
    begins = [round(begin, 6) for begin in (0.0, *itertools.accumulate(lengths))]
    seconds = begins.pop()
    if seconds > limits.max_video_seconds:
        raise MediaTooLarge(
            f"The animation is {seconds:.1f} seconds long; at most {limits.max_video_seconds:.0f} seconds are "
            "accepted. Cut it into shorter parts."
        )
    changes: list[float] = []
    if sampling.method == SamplingMethod.SCENE:
        part = stretch(sampling, seconds)
        changes = _changes(file, sniffed, limits, begins, part)
        scenes = [Wanted(time, SCENE) for time in thinned(middles(*part, changes), sampling.max_frames)]
        wanted = filled(scenes, *part, min(FEWEST, sampling.max_frames))
    elif sampling.method == SamplingMethod.KEYFRAMES:
        start, end = stretch(sampling, seconds)
        first = [Wanted(0.0, KEYFRAME)] if start == 0 else []
        wanted = filled(first, start, end, min(FEWEST, sampling.max_frames))
    else:
        wanted = timed(sampling, seconds)
    duplicates, last = NearDuplicates(), -1.0
    for time, wish, pixels in _shown_at(file, sniffed, limits, begins, wanted, sampling.max_side):
        if time <= last:
            continue
        last = time
        if not sampling.drop_near_duplicates or duplicates.keep(time, pixels):
            yield SampledFrame(time, wish.reason, pixels)
    if last < 0:
        raise CorruptMedia("The animation is damaged: no frame of it can be decoded.")
    yield duplicates.summary(max(seconds, last), changes)


def _shown_at(
    file: BinaryIO,
    sniffed: Sniffed,
    limits: DecodeLimits,
    begins: Sequence[float],
    wanted: Sequence[Wanted],
    max_side: int,
) -> Iterator[tuple[float, Wanted, Pixels]]:
    """(beginning, wish, picture) for each wish; the frame on screen at its time."""
    wishes = list(wanted)
    ends = [*begins[1:], float("inf")]
    for (begin, end), image in zip(
        zip(begins, ends, strict=True), _composed(file, sniffed, limits), strict=False
    ):
        mine = [wish for wish in wishes if wish.time_seconds < end - _SAME_SECONDS]
        if not mine:
            continue
        wishes = wishes[len(mine) :]
        # A copy: what is made of a frame must not get into those that build on it.
        yield begin, mine[0], finished(image.copy(), max_side, image.size)
        if not wishes:
            return


def _changes(
    file: BinaryIO,
    sniffed: Sniffed,
    limits: DecodeLimits,
    begins: Sequence[float],
    part: tuple[float, float],
) -> list[float]:
    """When new scenes begin, as of videos."""
    start, end = part
    finder = SceneFinder()
    for begin, image in zip(begins, _composed(file, sniffed, limits), strict=False):
        if begin >= end:
            break
        if begin >= start:
            small = finished(image.copy(), _SCENE_SIDE, image.size)
            finder.add(begin, np.ascontiguousarray(small[:, :, ::-1]))
    return finder.cuts()


def _composed(file: BinaryIO, sniffed: Sniffed, limits: DecodeLimits) -> Iterator[Image.Image]:
    """Every frame as shown, until the end or where the file breaks off. They share memory."""
    with open_image(file, sniffed, limits) as image:
        # In an APNG a picture for readers that know no animation may come before the first frame.
        for index in itertools.count(1 if image.info.get("default_image") else 0):
            try:
                image.seek(index)
                check_pixels(image, limits)
                _load(image)
            except (MemoryError, MediaTooLarge):
                raise
            except Exception:  # the end (EOFError), or damage
                return
            yield image


def _load(image: Image.Image) -> None:
    """``load`` that leaves an APNG's previous frame as it was.

    Pillow paints the frame over the one before in place, and would then restore this instead of that where the
    frame is to be disposed of to the previous.
    """
    previous: Any = getattr(image, "_prev_im", None)
    restored = getattr(image, "dispose_op", None) == PngImagePlugin.Disposal.OP_PREVIOUS
    kept = previous.copy() if previous is not None and restored and image.format == "PNG" else None
    image.load()
    if kept is not None:
        vars(image)["_prev_im"] = kept
