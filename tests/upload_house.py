"""Uploads without HTTP: a store on disk, media and uploads over it, a clock, and a look at every operation."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from storage.errors import MediaNotFound
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.uploads import Upload, UploadStore

__all__ = ["DAY", "HOUR", "House", "md5"]

HOUR = 3600
DAY = 24 * HOUR


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class House:
    """A store, media and uploads, with a clock of its own; ``before`` is called with every store operation."""

    def __init__(self, root: Path) -> None:
        self.now = 1_700_000_000.0
        self.store = LocalObjectStore(root)
        self.before: Callable[[str, str], None] = lambda operation, key: None
        noted = cast(ObjectStore, _Noted(self))
        self.media = MediaStore(noted, root, self.clock)
        self.uploads = UploadStore(noted, self.media, self.clock)

    def clock(self) -> float:
        return self.now

    def create(self, size_bytes: int, tenant: str = "acme", **more: Any) -> Upload:
        return self.uploads.create(tenant, "film.mp4", "user_data", size_bytes, **more)

    def add(self, upload: Upload, data: bytes, max_bytes: int = 1 << 20) -> str:
        return self.uploads.add_part(upload.tenant, upload.id, io.BytesIO(data), max_bytes).id

    def complete(self, upload: Upload, *part_ids: str, md5: str | None = None) -> Upload:
        """What ``serving.upload_completion`` does, without its checks of the content."""
        pending = self.uploads.pending(upload.tenant, upload.id)
        with self.uploads.open(pending, part_ids, md5) as parts:
            ref = self.media.receive(upload.tenant, parts, "text/plain", upload.size_bytes)
        self.uploads.note_file(pending, ref.id)
        self.media.commit(ref, filename=upload.filename)
        ended = self.uploads.complete(pending, ref.id)
        if ended.file_id != ref.id:
            with suppress(MediaNotFound):
                self.media.delete(upload.tenant, ref.id)
        return ended

    def content(self, upload: Upload) -> bytes:
        return self.media.read(self.media.get(upload.tenant, upload.file_id or "").ref)

    def keys(self, *prefixes: str) -> list[str]:
        return [info.key for prefix in prefixes or ("",) for info in self.store.list(prefix)]


class _Noted:
    def __init__(self, house: House) -> None:
        self._house = house

    def __getattr__(self, name: str) -> object:
        method = getattr(self._house.store, name)

        def noted(*arguments: object, **named: object) -> object:
            self._house.before(name, str(arguments[0]))
            return method(*arguments, **named)

        return noted
