"""Which models exist: every file in ``encoders/models``, and folders of the user's own that one of them can load.

A model file offers

* ``SPEC: ModelSpec``, or ``SPECS: tuple[ModelSpec, ...]`` for a family of several sizes -- readable without
  importing any model framework; the gateway lists these,
* ``load(spec, config) -> model`` -- the warm model. A file whose model is run by the decoder's engine (task
  ``chat``) has no ``load``; the engine reads the prepared directory itself,
* ``prepare(spec, target_dir, progress) -> None`` -- writes the files ``load`` needs into an empty directory (or
  nothing, when the files of the installed package are used as they are) and checks SHA-256 of what it reads.
  Families that only come from the hub need none,
* ``convert(spec, target_dir, progress) -> None``, if the hub's files are not what ``load`` needs: makes that of
  them, in the same folder,
* ``finish(name, directory, progress) -> None``, if more is made of a folder that is ready, the user's own
  included (the decoder of a BLIP-2 checkpoint). Called by every preparation; does nothing when there is nothing
  to do,
* ``adopt(name, directory, facts) -> ModelSpec | None``, if it can load checkpoints it does not list: the spec for
  a folder of the user's own, whose ``config.json`` holds ``facts``; ``None`` when it is not of this family.

Keys of ``SPEC.extra`` with a meaning here: ``files`` (names ``load`` needs; ``config.json`` when absent),
``package_folder`` (folder of the first package that already holds ``files``), ``needs`` (models that must be
prepared first), ``side_pixels`` (the longer side of the largest picture that a vision model makes use of),
``hub_files`` (hub name -> SHA-256, for preparing from the Hugging Face hub when no package is
installed), ``hub_patterns`` (which of a hub repository's files are fetched, held against the hub's own SHA-256),
``space`` (the name of the space its vectors lie in; only vectors of one space can be compared), ``derived``
(folders that ``finish`` makes of the other files; they are no part of the revision), ``tool_parser`` and
``chat_template`` (of a chat model: vLLM's name for the form in which it calls functions, and the platform's
template that has a place for them).
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import encoders.models
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.types import ModelSpec
from encoders.weights import (
    Resolution,
    content_revision,
    find_directory,
    holds_own_files,
    installed,
    is_pinned,
    resolve,
)

__all__ = [
    "ModelFile",
    "Progress",
    "Resolution",
    "check_revisions",
    "find",
    "find_directory",
    "installed",
    "load",
    "model_file",
    "resolve",
    "space",
    "specs",
]


class Progress(Protocol):
    """Told how far a preparation is: fraction in [0, 1] and a few words."""

    def __call__(self, fraction: float, text: str, /) -> None:
        """Report."""


class ModelFile(Protocol):
    """What a module in ``encoders/models`` offers (``load`` and ``adopt`` are looked up, see above)."""

    def prepare(self, spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
        """Write the files ``load`` needs into the empty ``target_dir``."""


@cache
def _files() -> dict[str, tuple[ModelSpec, ModelFile]]:
    """Every listed model with the file that it is in."""
    found: dict[str, tuple[ModelSpec, ModelFile]] = {}
    for info in pkgutil.iter_modules(encoders.models.__path__, encoders.models.__name__ + "."):
        module = importlib.import_module(info.name)
        for spec in getattr(module, "SPECS", None) or (module.SPEC,):
            if spec.name in found:
                raise ModelUnavailable(f"Two model files both have a '{spec.name}'; rename one.")
            found[spec.name] = (spec, cast(ModelFile, module))
    return found


def specs(task: str | None = None) -> tuple[ModelSpec, ...]:
    """All listed models' specs by name, or those of one task (vision, text, speech, ocr, moderation, chat)."""
    return tuple(spec for _, (spec, _) in sorted(_files().items()) if task is None or spec.task == task)


def find(name: str, models_dir: Path) -> ModelSpec:
    """The spec of a listed model, or of the folder ``models_dir/name`` that some model file can load.

    Weights that are not pinned (from the hub, or the user's own in a listed model's place) give the spec its
    ``revision``, so that nothing cached for other weights is believed. Raises ``ModelUnavailable`` listing the
    known names.
    """
    return _found(name, models_dir)[0]


def model_file(spec: ModelSpec, models_dir: Path) -> ModelFile:
    """The model file that loads ``spec``."""
    return _found(spec.name, models_dir)[1]


def load(name: str, config: EncoderConfig) -> object:
    """Load a model by name. Raises ``ModelUnavailable`` when it is unknown, unprepared, or the engine's."""
    spec, file = _found(name, config.models_dir)
    loader = getattr(file, "load", None)
    if loader is None:
        raise ModelUnavailable(f"The model '{name}' is loaded by the chat engine, not by the encoders.")
    return cast(object, loader(spec, config))


def check_revisions(found: Iterable[ModelSpec], expected: Mapping[str, str]) -> None:
    """Raise ``ModelUnavailable`` when a model has other weights than ``expected`` says by name.

    Results are kept under the revisions that were found when the platform started. A process that starts later,
    after a folder has changed, would put results of other weights among them.
    """
    for spec in found:
        if expected.get(spec.name, spec.revision) != spec.revision:
            raise ModelUnavailable(
                f"The files of the model '{spec.name}' have changed since the platform started; restart it."
            )


def space(spec: ModelSpec) -> str:
    """The name of the space that the model's vectors lie in: its own unless it says another's."""
    return str(spec.extra.get("space", spec.name))


def _found(name: str, models_dir: Path) -> tuple[ModelSpec, ModelFile]:
    listed = _files().get(name)
    if listed is None:
        return _adopted(name, models_dir)
    spec, file = listed
    if not resolve(spec, models_dir).ready:
        return listed
    directory = find_directory(spec, models_dir)
    if is_pinned(spec) and (directory != models_dir / name or not holds_own_files(directory)):
        return listed
    return replace(spec, revision=content_revision(directory, spec.extra.get("derived", ()))), file


def _adopted(name: str, models_dir: Path) -> tuple[ModelSpec, ModelFile]:
    """A folder of the user's own. Its name must be one path component: it may come from a setting."""
    known = ", ".join(sorted(_files()))
    unknown = ModelUnavailable(f"There is no model '{name}'; known models are {known}.")
    if not name or name != Path(name).name or name.startswith("."):
        raise unknown
    directory = models_dir / name
    try:
        facts = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise unknown from None
    for file in dict.fromkeys(file for _, file in _files().values()):
        adopt = getattr(file, "adopt", None)
        if adopt is None or not isinstance(facts, dict):
            continue
        try:
            spec = adopt(name, directory, facts)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise ModelUnavailable(
                f"The folder '{name}' among the models cannot be used: its config.json makes no sense, or a file "
                "cannot be read. Fetch the checkpoint again."
            ) from error
        if spec is not None:
            return spec, file
    raise ModelUnavailable(
        f"The folder '{name}' among the models is of a kind that no model file loads; known models are {known}."
    )
