"""The playground's files: read once from the package, so that what is answered is a fixed list."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

__all__ = ["PAGE", "WebFile", "web_files"]

PAGE: Final = "index.html"
"""The page itself; all other files are its assets."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file as it is answered. ``etag`` is of its content, in quotes."""

    content: bytes
    content_type: str
    etag: str


@lru_cache(maxsize=1)
def web_files() -> Mapping[str, WebFile]:
    """Those files of ``serving/web`` that a browser may ask for, by their path below it (no licences)."""
    found = {}
    for name, file in _below(files("serving") / "web", ""):
        kind = _TYPES.get(PurePosixPath(name).suffix)
        if kind is not None:
            content = file.read_bytes()
            found[name] = WebFile(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return MappingProxyType(found)


def _below(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{path}{entry.name}/")
        else:
            yield path + entry.name, entry
