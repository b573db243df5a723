"""The demo's sample media: made once in a folder, then found there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from deploy.demo.photos import PHOTOS, draw_sign, read_photo
from deploy.demo.video import assemble_video

__all__ = ["SHOWN_IN_VIDEO", "STRETCH_SECONDS", "Samples", "Stretch", "make_samples", "write_samples"]

SHOWN_IN_VIDEO = ("coffee", "cat", "rocket", "photographer")
"""The photos of the video, in order; ``media/narration.ogg`` says a sentence about each while it is shown."""

STRETCH_SECONDS = 6.0
"""How long each photo is shown."""

# Raise it when a sample changes: files of an earlier edition are then left alone and made anew beside them.
_EDITION = "edition-1"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of the video in which one photo is on screen."""

    photo: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Samples:
    """Files of the demo. ``pictures`` maps names (``cat``, ..., ``sign``) to files."""

    pictures: dict[str, Path]
    speech: Path
    video: Path
    stretches: tuple[Stretch, ...]

    def stretch(self, photo: str) -> Stretch:
        """Where in the video ``photo`` is on screen."""
        return next(stretch for stretch in self.stretches if stretch.photo == photo)


def make_samples(folder: Path) -> Samples:
    """Make what is missing below ``folder`` and say where everything lies.

    Each file appears whole or not at all, so an interrupted run is simply repeated and two runs may overlap.
    Raises ``DeployError`` when the ``demo`` extra is not installed.
    """
    return write_samples(folder / _EDITION)


def write_samples(folder: Path) -> Samples:
    """Write what is missing right into ``folder``, for somebody to use; files that lie there are left alone.

    Raises ``DeployError`` when the ``demo`` extra is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        photo.name: _make(folder / f"{photo.name}{Path(photo.source).suffix}", partial(read_photo, photo))
        for photo in PHOTOS
    }
    pictures["sign"] = _make(folder / "sign.png", draw_sign)
    return Samples(
        pictures=pictures,
        speech=_make(folder / "speech.flac", partial(_carried, "speech.flac")),
        video=_make(folder / "video.mp4", partial(_video, pictures)),
        stretches=tuple(
            Stretch(name, index * STRETCH_SECONDS, (index + 1) * STRETCH_SECONDS)
            for index, name in enumerate(SHOWN_IN_VIDEO)
        ),
    )


def _video(pictures: dict[str, Path]) -> bytes:
    shown = [pictures[name].read_bytes() for name in SHOWN_IN_VIDEO]
    return assemble_video(shown, STRETCH_SECONDS, _carried("narration.ogg"))


def _carried(name: str) -> bytes:
    """A file that comes with the project."""
    return (resources.files("deploy.demo") / "media" / name).read_bytes()


def _make(path: Path, content: Callable[[], bytes]) -> Path:
    if not path.exists():
        descriptor, partial_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content())
            os.replace(partial_name, path)
        except BaseException:
            os.unlink(partial_name)
            raise
    return path
