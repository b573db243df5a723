"""Pictures with captions, read from a list of JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusion.errors import TrainingRefused

__all__ = ["Pair", "read_pairs", "split"]

_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture's file and what people wrote about it, at least one caption."""

    image: Path
    captions: tuple[str, ...]


def read_pairs(listing: Path, images: Path | None = None) -> tuple[Pair, ...]:
    """The pairs of a JSONL list, in its order.

    A line is ``{"image": path, "caption": text}``; ``file`` may stand for ``image``, and ``captions`` (a list) for
    ``caption``. Other fields are ignored. Paths are relative to ``images``, or to the list's own folder. Lines
    about one picture are put together, so that it is never both trained on and held out. Raises
    ``TrainingRefused`` with the line that cannot be used.
    """
    folder = images or listing.parent
    found: dict[Path, list[str]] = {}
    try:
        with listing.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if len(line) > _MAX_LINE_BYTES:
                    raise TrainingRefused(
                        f"Line {number} of the list is longer than {_MAX_LINE_BYTES} bytes."
                    )
                if line.strip():
                    image, captions = _read_line(line, number)
                    found.setdefault(folder / image, []).extend(captions)
    except OSError as error:
        raise TrainingRefused(
            f"The list '{listing.name}' cannot be read; give a file of JSON lines."
        ) from error
    if not found:
        raise TrainingRefused(
            f"The list '{listing.name}' has no lines; each must name a picture and its caption."
        )
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise TrainingRefused(
            f"{len(missing)} of {len(found)} pictures are not there, the first is '{missing[0].name}'; say where "
            "they lie with --images."
        )
    return tuple(Pair(image, tuple(captions)) for image, captions in found.items())


def split(pairs: tuple[Pair, ...], held_out: float, seed: int) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Those to train on and those held out, by lot; at least one of the former, order kept."""
    count = min(round(len(pairs) * held_out), len(pairs) - 1)
    drawn = set(np.random.default_rng((seed, 0)).permutation(len(pairs))[:count].tolist())
    return (
        tuple(pair for index, pair in enumerate(pairs) if index not in drawn),
        tuple(pair for index, pair in enumerate(pairs) if index in drawn),
    )


def _read_line(line: bytes, number: int) -> tuple[str, list[str]]:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise TrainingRefused(f"Line {number} of the list is no JSON object.")
    image = fields.get("image", fields.get("file"))
    given = fields.get("captions", fields.get("caption"))
    captions = [given] if isinstance(given, str) else given
    if not isinstance(image, str) or not image:
        raise TrainingRefused(
            f'Line {number} of the list names no picture; it needs a text "image" (or "file").'
        )
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise TrainingRefused(
            f'Line {number} of the list has no text "caption" and no list of texts "captions".'
        )
    said = [" ".join(text.split()) for text in captions]
    if not any(said):
        raise TrainingRefused(f"Line {number} of the list has no caption that says anything.")
    return image, [text for text in said if text]
