"""What the frozen vision encoder gives for each picture, computed once and kept beside the run.

Encoding is much of the work of a step and its answer never changes. Tokens are kept as float16 (which costs at most
0.05 % of a value, where bfloat16 of a GPU costs 0.4 %), or as float32 where a value is too large for that. A run
reads them from the files also where it has just computed them, so that a resumed run sees the same numbers.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.decoding.sandbox import MediaDecoder
from encoders.errors import EncoderError, EncoderOverloaded
from encoders.types import Pixels, Vector
from encoders.vision.encoder import TokenEncoder
from fusion.errors import TrainingRefused
from fusion.training.pairs import Pair

__all__ = ["Encoded", "PictureTokens", "encode_pairs"]

_FLOAT16_MAX = 65_504.0
_NAME = "tokens"
_AT_ONCE = 32  # pictures in memory, twice: a GPU wants many, and the sandbox queues 64


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pairs whose pictures have tokens, and the pictures that could not be decoded."""

    pairs: tuple[Pair, ...]
    refused: tuple[Path, ...]


class PictureTokens:
    """The tokens' files. ``identity`` is all that decides them beside the picture: model, revision, input path."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder / hashlib.sha256(identity.encode()).hexdigest()[:16]

    def has(self, image: Path) -> bool:
        """Whether the picture's tokens are kept."""
        return self._path(image).is_file()

    def keep(self, image: Path, tokens: Vector) -> None:
        """Write the tokens of one picture, float32 ``(patches, width)``. Raises ``TrainingRefused`` when they are
        no numbers, or when the disk is full.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        if not np.isfinite(tokens).all():
            raise TrainingRefused(f"The vision model gave no usable numbers for '{image.name}'.")
        small = np.abs(tokens).max(initial=0.0) <= _FLOAT16_MAX
        path = self._path(image)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({_NAME: tokens.astype(np.float16 if small else np.float32)}, unfinished)
            unfinished.replace(path)
        except (OSError, SafetensorError) as error:
            raise TrainingRefused(
                "The tokens of the pictures cannot be written; is the disk full?"
            ) from error

    def load(self, image: Path) -> Vector:
        """The tokens of one picture, float32 ``(patches, width)``."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._path(image)
        try:
            tokens: Vector = load_file(path)[_NAME].astype(np.float32)
        except (OSError, KeyError, SafetensorError) as error:
            path.unlink(missing_ok=True)
            raise TrainingRefused(
                f"The kept tokens of '{image.name}' were damaged, or the picture changed meanwhile; start again."
            ) from error
        return tokens

    def _path(self, image: Path) -> Path:
        # Not the bytes: a million photos would have to be read at every start.
        try:
            facts = image.stat()
        except OSError as error:
            raise TrainingRefused(f"The picture '{image.name}' is not there any more.") from error
        key = hashlib.sha256(f"{image.resolve()}|{facts.st_size}|{facts.st_mtime_ns}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.safetensors"


async def encode_pairs(
    pairs: Sequence[Pair],
    encoder: TokenEncoder,
    decoder: MediaDecoder,
    max_side: int,
    kept: PictureTokens,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    stop: Callable[[], bool] = lambda: False,
) -> Encoded | None:
    """See that every pair's picture has its tokens: of one view, the whole picture, as the platform looks at it.

    Pictures are decoded as the platform does it: in the sandbox, upright, the longer side at most ``max_side``
    pixels. Some are decoded while the model looks at those before them. Pictures that cannot be decoded are left
    out. ``stop`` is asked now and then; when it says so, what is done is kept, and the answer is None. Raises
    ``TrainingRefused`` when no picture is left.
    """
    missing = [pair.image for pair in pairs if not kept.has(pair.image)]
    refused: set[Path] = set()
    done = len(pairs) - len(missing)
    on_progress(done, len(pairs))

    def look(images: Sequence[Path], pictures: Sequence[Pixels]) -> None:
        for image, tokens in zip(images, encoder.tokens(pictures), strict=True):
            kept.keep(image, tokens.tokens[0])

    # Not a TaskGroup: it would wrap the sentence of a refusal into a group of errors.
    looking: asyncio.Task[None] | None = None
    try:
        for start in range(0, len(missing), _AT_ONCE):
            if stop():
                break
            some = missing[start : start + _AT_ONCE]
            decoded = await asyncio.gather(*(_decoded(decoder, image, max_side) for image in some))
            found = {image: pixels for image, pixels in zip(some, decoded, strict=True) if pixels is not None}
            refused.update(set(some) - found.keys())
            if looking is not None:
                await looking
                on_progress(done, len(pairs))
            looking = asyncio.create_task(asyncio.to_thread(look, list(found), list(found.values())))
            done += len(some)
    finally:
        if looking is not None:
            await looking
    if done < len(pairs):
        return None
    on_progress(done, len(pairs))
    usable = tuple(pair for pair in pairs if pair.image not in refused)
    if not usable:
        raise TrainingRefused(f"None of the {len(pairs)} pictures can be decoded.")
    return Encoded(usable, tuple(pair.image for pair in pairs if pair.image in refused))


async def _decoded(decoder: MediaDecoder, image: Path, max_side: int) -> Pixels | None:
    try:
        with image.open("rb") as file:
            return (await decoder.image(file, max_side=max_side)).pixels
    except EncoderOverloaded:
        raise
    except (EncoderError, OSError):
        return None
