"""Which models exist: every file in ``encoders/models`` that has a ``SPEC``.

A model file offers

* ``SPEC: ModelSpec`` -- readable without importing any model framework; the gateway lists these,
* ``prepare(target_dir, progress) -> None`` -- writes the files ``load`` needs into an empty directory (or
  nothing, when the files of the installed package are used as they are) and checks SHA-256 of what it reads,
* ``load(config) -> model`` -- the warm model. A file whose model is run by the decoder's engine (task
  ``chat``) has no ``load``; the engine reads the prepared directory itself.

Keys of ``SPEC.extra`` with a meaning here: ``files`` (names ``load`` needs), ``package_folder`` (folder of
the first package that already holds ``files``), ``needs`` (models that must be prepared first), ``hub_files``
(hub name -> SHA-256, for preparing from the Hugging Face hub when no package is installed).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Protocol, cast

import encoders.models
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.types import ModelSpec
from encoders.weights import Resolution, find_directory, resolve

__all__ = ["ModelFile", "Progress", "Resolution", "find_directory", "load", "model_file", "resolve", "specs"]

from pathlib import Path


class Progress(Protocol):
    """Told how far a preparation is: fraction in [0, 1] and a few words."""

    def __call__(self, fraction: float, text: str, /) -> None:
        """Report."""


class ModelFile(Protocol):
    """What a module in ``encoders/models`` offers (``load`` is looked up separately, see ``load``)."""

    SPEC: ModelSpec

    def prepare(self, target_dir: Path, progress: Progress) -> None:
        """Write the files ``load`` needs into the empty ``target_dir``."""


@cache
def _files() -> dict[str, ModelFile]:
    found: dict[str, ModelFile] = {}
    for info in pkgutil.iter_modules(encoders.models.__path__, encoders.models.__name__ + "."):
        module = importlib.import_module(info.name)
        if not hasattr(module, "SPEC"):
            continue
        if module.SPEC.name in found:
            raise ModelUnavailable(f"Two model files are both named '{module.SPEC.name}'; rename one.")
        found[module.SPEC.name] = cast(ModelFile, module)
    return found


def specs(task: str | None = None) -> tuple[ModelSpec, ...]:
    """All models' specs sorted by name, or those of one task (vision, text, speech, ocr, chat)."""
    return tuple(file.SPEC for _, file in sorted(_files().items()) if task is None or file.SPEC.task == task)


def model_file(name: str) -> ModelFile:
    """The model file of that name. Raises ``ModelUnavailable`` listing the known names."""
    try:
        return _files()[name]
    except KeyError:
        raise ModelUnavailable(
            f"There is no model '{name}'; known models are {', '.join(sorted(_files()))}."
        ) from None


def load(name: str, config: EncoderConfig) -> object:
    """Load a model by name. Raises ``ModelUnavailable`` when it is unknown, unprepared, or the engine's."""
    loader = getattr(model_file(name), "load", None)
    if loader is None:
        raise ModelUnavailable(f"The model '{name}' is loaded by the chat engine, not by the encoders.")
    return cast(object, loader(config))
