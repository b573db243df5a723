"""What ``manymodal index`` is to send: files, folders, and lists."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.cli.failures import UnusableInput
from serving.cli.inputs import as_text

__all__ = ["Source", "document_id", "files_in", "sources_of"]

_TEXT_SUFFIXES = frozenset({".txt", ".md"})
# Media that Python's table of types does not know everywhere.
_MEDIA_SUFFIXES = frozenset(
    {".avif", ".flac", ".heic", ".heif", ".m4a", ".mkv", ".oga", ".ogg", ".opus", ".webm", ".webp"}
)
_LIST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".urls"})
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to send: a local file, or what a list says (``entry``). ``name`` is what to call it."""

    name: str
    path: Path | None = None
    entry: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def id(self) -> str:
        """Its document's id, the same every time."""
        given = self.entry.get("id")
        if given:
            return str(given)
        if self.path is not None:
            return document_id(self.path)
        for kind in ("file_id", "url", "text"):
            if content := self.entry.get(kind):
                digest = hashlib.sha256(str(content).encode("utf-8", "surrogatepass")).hexdigest()[:32]
                return str(content) if kind == "file_id" else f"{kind}-{digest}"
        return "unusable"

    @property
    def is_text(self) -> bool:
        """Whether it is a file that is sent as a text."""
        return self.path is not None and self.path.suffix.lower() in _TEXT_SUFFIXES

    def stamp(self) -> str:
        """What changes when it changes: a file's size and time, a list's words."""
        if self.path is not None:
            try:
                status = self.path.stat()
            except OSError:
                return "missing"
            return f"{status.st_size}-{status.st_mtime_ns}"
        return hashlib.sha256(repr(sorted(self.entry.items())).encode("utf-8", "surrogatepass")).hexdigest()[
            :16
        ]

    def size_bytes(self) -> int:
        """How much there is to send."""
        if self.path is None:
            return len(str(self.entry.get("text", "")))
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def sources_of(paths: Sequence[Path]) -> Iterator[Source]:
    """The named files, those in folders, and what lists hold. Raises ``UnusableInput`` for a list that is none."""
    for path in paths:
        form = _list_format(path)
        if form is None:
            yield from (Source(as_text(file), file) for file in files_in([path]))
        else:
            yield from _listed(path, form)


def files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """The named files whatever they are, and of folders the files whose names end like media or text."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from (
                Path(folder, name) for name in sorted(names) if not name.startswith(".") and _is_wanted(name)
            )


def document_id(path: Path) -> str:
    """The same for the same place on this machine, so that indexing again replaces."""
    return f"path-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}"


def _list_format(path: Path) -> Any:
    """What kind of list a file is; ``None``: none."""
    suffix = path.suffix.lower()
    if suffix not in _LIST_SUFFIXES and suffix != ".txt":
        return None
    from serving.ingest.manifests import format_of

    try:
        with path.open("rb") as file:
            found = format_of(path.name, file.read(_HEAD_BYTES))
    except OSError:
        return None  # what is wrong with it is said where it is sent
    return found if suffix in _LIST_SUFFIXES or found == "urls" else None


def _listed(path: Path, form: Any) -> Iterator[Source]:
    """A list's rows; paths are seen from the list's folder."""
    from serving.errors import InvalidRequest
    from serving.ingest.manifests import entries_of

    try:
        with path.open("rb") as file:
            for number, entry in enumerate(entries_of(file, form), 1):
                yield _of_entry(entry, path, number)
    except InvalidRequest as error:
        raise UnusableInput(f"'{path}': {error.message}") from None
    except OSError as error:
        raise UnusableInput(f"'{path}' cannot be read: {error.strerror or error}.") from None


def _of_entry(entry: dict[str, Any], path: Path, number: int) -> Source:
    place = f"{as_text(path)}:{number}"
    named = [name for name in ("path", "url", "file_id", "text") if entry.get(name)]
    if entry.get("problem"):
        return Source(place, problem=str(entry["problem"]))
    if len(named) != 1:
        return Source(place, problem="A row needs exactly one of 'path', 'url', 'file_id' and 'text'.")
    rest = {name: value for name, value in entry.items() if name != "path"}
    if named[0] == "path":
        file = path.parent / entry["path"]
        return Source(as_text(file), file, rest)
    return Source(place if named[0] == "text" else as_text(str(entry[named[0]])), entry=rest)


def _is_wanted(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix in _TEXT_SUFFIXES or suffix in _MEDIA_SUFFIXES:
        return True
    guess = mimetypes.guess_type(f"x{suffix}", strict=False)[0] or ""
    return guess.startswith(("image/", "audio/", "video/")) and guess != "image/svg+xml"
